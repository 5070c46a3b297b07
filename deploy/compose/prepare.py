"""`python3 deploy/compose/prepare.py [--cluster]`: the secrets that the compose files mount, made once, in
deploy/compose/secrets.

Run again, it makes what is missing and changes nothing that is there. Standard library only: it runs on the machine
that has the containers, before anything of Regente does. Each service has a folder of its own under users: addresses of
broker and database with its own user, which `regente service-users` makes there. The files are readable by all and
stand in a folder that only you can enter: containers get each one by itself, and read it as users of their own.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import secrets
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "secrets"
USER = "regente"
SERVICES = ("console", "collector", "scheduler", "executor", "delivery", "alerts")
LOOKING = ("console", "scheduler", "alerts")
"""Those that use the broker's management API."""


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description="Make the secrets that the compose files mount.")
    parser.add_argument("--cluster", action="store_true", help="for cluster.yaml: addresses of three nodes, with TLS")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder")
    given = parser.parse_args()
    try:
        prepare(given.out, cluster=given.cluster)
    except PermissionError as error:
        users = given.out / "users"
        text = f"{error.filename} is somebody else's. A container engine makes folders that are missing when it starts"
        parser.exit(1, f"{text}: stop the containers, remove {users} as root, and run this again\n")
    print(f"secrets are in {given.out}; keep a copy of master_key: without it nothing that was sealed can be read")


def prepare(folder: Path, *, cluster: bool) -> None:
    """Passwords, keys and addresses as files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    amqp = _kept(folder / "amqp_password", secrets.token_urlsafe(24))
    mongo = _kept(folder / "mongo_password", secrets.token_urlsafe(24))
    _kept(folder / "master_key", base64.b64encode(secrets.token_bytes(32)).decode())
    _kept(folder / "mongo_keyfile", base64.b64encode(secrets.token_bytes(384)).decode())
    _kept(folder / "erlang_cookie", secrets.token_hex(24))
    _kept(folder / "grafana_password", secrets.token_urlsafe(18))
    brokers = [f"broker-{n}" for n in (1, 2, 3)] if cluster else ["broker"]
    members = [f"database-{n}" for n in (1, 2, 3)] if cluster else ["database"]
    amqps, port, admin = ("amqps", 5671, "https") if cluster else ("amqp", 5672, "http")
    admin_port = 15671 if cluster else 15672
    tls = "&tls=true&tlsCAFile=/run/certs/ca.pem" if cluster else ""
    hosts = ",".join(f"{host}:27017" for host in members)

    def addresses(to: Path, user: str, amqp: str, mongo: str, *, looks: bool) -> None:
        admins = ",".join(f"{admin}://{user}:{amqp}@{host}:{admin_port}" for host in brokers)
        _kept(to / "amqp_url", ",".join(f"{amqps}://{user}:{amqp}@{host}:{port}/regente" for host in brokers))
        _kept(to / "amqp_admin_url", admins if looks else "")
        _kept(to / "mongo_url", f"mongodb://{user}:{mongo}@{hosts}/?replicaSet=rs&authSource=admin{tls}")

    addresses(folder, USER, amqp, mongo, looks=True)
    for name in SERVICES:
        own = folder / "users" / name
        for each in (own.parent, own):
            if not each.exists():
                each.mkdir()
                each.chmod(0o755)  # entered by containers alone: the folder above is closed
        password = _kept(own / "password", secrets.token_urlsafe(32))
        addresses(own, f"{USER}-{name}", password, password, looks=name in LOOKING)
    _kept(folder / "definitions.json", _definitions(amqp))


def _definitions(password: str) -> str:
    """The broker's user and virtual host. Source: https://www.rabbitmq.com/docs/passwords."""
    salt = secrets.token_bytes(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    user = {
        "name": USER, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["administrator"],
    }  # fmt: skip
    rights = {"user": USER, "vhost": "regente", "configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps({"users": [user], "vhosts": [{"name": "regente"}], "permissions": [rights]}, indent=1)


def _kept(path: Path, text: str) -> str:
    """What a file holds; made when it is not there, as a whole."""
    if not path.exists():
        new = path.with_name(f"{path.name}.new")
        new.write_text(text, encoding="ascii")
        new.chmod(0o444)
        new.rename(path)
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    main()
