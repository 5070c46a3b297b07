"""A user of the broker and of the database for each service, with the rights of shared/contracts/rights.py
and shared/mongo/rights.py.

Called by: the local stack at its start, tests. Survives a crash: every call is idempotent; run again,
it puts rights and passwords as they should be. Needs the addresses of administrators; services never have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from shared.contracts.rights import SERVICES, broker_rights, user_of
from shared.mongo.indexes import COLLECTIONS
from shared.mongo.rights import database_privileges, server_roles
from shared.outbound.trust import tls_context

TIMEOUT_S = 15.0
_EXISTS = 51002, 51003
"""A role, a user that is there already."""


def make_database_users(url: str, db: str, passwords: Mapping[str, str], ca_file: str = "") -> None:
    """Make, or put right, each service's role and user. passwords: by service.

    url: of an administrator. Raises: pymongo.errors.PyMongoError.
    """
    trusted: dict[str, Any] = {"tlsCAFile": ca_file} if ca_file and "tls=true" in url and "tlsCAFile" not in url else {}
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=int(TIMEOUT_S * 1000), **trusted) as client:
        admin = client["admin"]
        for service in SERVICES:
            name = user_of(service)
            role = f"{name}-{db}"
            privileges = database_privileges(service, db, COLLECTIONS)
            given = {"privileges": privileges, "roles": server_roles(service)}
            _put(admin, "Role", role, given)
            _put(admin, "User", name, {"pwd": passwords[service], "roles": [{"role": role, "db": "admin"}]})


def _put(admin: Any, what: str, name: str, fields: dict[str, Any]) -> None:
    """Create it, or update the one that is there."""
    try:
        admin.command({f"create{what}": name, **fields})
    except OperationFailure as error:
        if error.code not in _EXISTS:
            raise
        admin.command({f"update{what}": name, **fields})


def make_broker_users(admin_url: str, vhost: str, passwords: Mapping[str, str], ca_file: str = "") -> None:
    """Make, or put right, each service's user and its permissions. passwords: by service.

    admin_url: of an administrator; several with commas: the first that answers. Raises: httpx.HTTPError.
    """
    trouble: httpx.HTTPError | None = None
    for url in filter(None, (each.strip() for each in admin_url.split(","))):
        with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False, verify=tls_context(ca_file)) as client:
            try:
                for service in SERVICES:
                    _put_broker_user(client, quote(vhost, safe=""), service, passwords[service])
                return
            except httpx.TransportError as error:
                trouble = error
    raise trouble or httpx.ConnectError("no address of the management API is given")


def _put_broker_user(client: httpx.Client, vhost: str, service: str, password: str) -> None:
    name, rights = quote(user_of(service), safe=""), broker_rights(service)
    client.put(f"/api/users/{name}", json={"password": password, "tags": rights.tags}).raise_for_status()
    permissions = {"configure": rights.configure, "write": rights.write, "read": rights.read}
    client.put(f"/api/permissions/{vhost}/{name}", json=permissions).raise_for_status()
    for exchange, write, read in rights.topics:
        topic = {"exchange": exchange, "write": write, "read": read}
        client.put(f"/api/topic-permissions/{vhost}/{name}", json=topic).raise_for_status()


def as_user(urls: str, user: str, password: str) -> str:
    """The same addresses (several with commas, or one with several hosts) with another user."""
    return ",".join(_as_user(url.strip(), user, password) for url in _split(urls))


def _split(urls: str) -> list[str]:
    """mongodb:// has its hosts by commas in one address; the others are addresses by commas."""
    return [urls] if urls.startswith("mongodb") else urls.split(",")


def _as_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{hosts}"))
