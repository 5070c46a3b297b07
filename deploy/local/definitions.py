"""What a private broker knows from its start: the administrator, and a user of each service where they have their own.

Called by: servers.py. Pure. A broker reads it at every start, so one whose data was lost has its users again. Source:
https://www.rabbitmq.com/docs/definitions, https://www.rabbitmq.com/docs/passwords (hash of a password).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from shared.contracts.rights import broker_rights, user_of


def definitions(vhost: str, administrator: str, password: str, services: Mapping[str, str]) -> str:
    """The broker's definitions, as JSON.

    password: the administrator's. services: passwords of the services' own users, by service; none: there are none.
    """
    users = [_user(administrator, password, "administrator")]
    permissions = [{"user": administrator, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}]
    topics: list[dict[str, str]] = []
    for service, own in services.items():
        may, name = broker_rights(service), user_of(service)
        users.append(_user(name, own, may.tags))
        permissions.append(
            {"user": name, "vhost": vhost, "configure": may.configure, "write": may.write, "read": may.read}
        )
        topics += [
            {"user": name, "vhost": vhost, "exchange": exchange, "write": write, "read": read}
            for exchange, write, read in may.topics
        ]
    # Topic permissions name an exchange that need not be there yet.
    more = {"topic_permissions": topics} if topics else {}
    return json.dumps({"users": users, "vhosts": [{"name": vhost}], "permissions": permissions, **more})


def _user(name: str, password: str, tags: str) -> dict[str, object]:
    salt = hashlib.sha256(password.encode()).digest()[:4]
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    return {
        "name": name, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [tags] if tags else [],
    }  # fmt: skip
