"""`python -m services.console.bootstrap --out FILE`: the first account, user, partner and key of an installation.

Owns: FILE (admin.json). Called by: the local stack and the containers' first start, as often as they like: what is
there stays. Survives a crash: FILE is written last and as a whole; what was made before is found again by name, and
its password and key are made anew, because neither can be read back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.console.config import ConsoleSettings
from services.console.core.access import ALL_ACCOUNTS, Role
from services.console.store.accounts import make_account, make_partner
from services.console.store.keys import make_key
from services.console.store.passwords import hash_password, verify_password
from services.console.store.users import user_document
from shared.errors import RegenteError
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.mongo.guarded import insert_once
from shared.mongo.indexes import apply_indexes
from shared.obs.clock import now
from shared.runtime.settings import load

ACCOUNT = "demo"
USER = "admin"
PARTNER = "demo-partner"
SCOPES = ["tasks", "results", "endpoints"]
BY = "bootstrap"


async def bootstrap(settings: ConsoleSettings, out: Path, account: str = ACCOUNT) -> list[str]:
    """Make what is missing and write `out`. Returns what was made, in words for people."""
    known = _read(out)
    mongo = Mongo(settings.mongo_url, settings.mongo_db, ca_file=settings.ca_file)
    said: list[str] = []
    try:
        await mongo.ping()
        await apply_indexes(mongo)
        if await make_account(mongo, account, account.capitalize()):
            said.append(f"account {account}")
        await make_partner(mongo, account, PARTNER)
        password = await _user(mongo, known.get("password"), said)
        key = await _key(mongo, account, known.get("key"), said)
    finally:
        await mongo.close()
    _write(
        out,
        {
            **_addresses(settings),
            "user": USER,
            "password": password,
            "account": account,
            "partner": PARTNER,
            "key": key,
        },
    )
    return said


async def _user(mongo: Mongo, password: str | None, said: list[str]) -> str:
    """The password of the first user, who has it afterwards."""
    document = await mongo["users"].find_one({"_id": USER})
    if document is not None and password and await verify_password(document["password"], password):
        return password
    password = password or secrets.token_urlsafe(18)
    hashed = await hash_password(password)
    if document is None and await insert_once(mongo["users"], user_document(USER, hashed, Role.ADMIN, [ALL_ACCOUNTS])):
        said.append(f"user {USER}")
        return password
    await mongo["users"].update_one({"_id": USER}, {"$set": {"password": hashed, "updated_at": now()}})
    await mongo["sessions"].delete_many({"user": USER})
    await audit(mongo, by=BY, action="user.change", target=USER, details={"password": True})
    said.append(f"a new password for user {USER}: the old one was not in the file")
    return password


async def _key(mongo: Mongo, account: str, key: str | None, said: list[str]) -> str:
    """A valid key of the first partner: the known one while it works, else a new one."""
    parts = (key or "").split("_", 2)
    if key and len(parts) == 3:
        document = await mongo["keys"].find_one({"_id": parts[1], "account": account, "revoked_at": None})
        if document is not None:
            return key
    made = await make_key(mongo, account, PARTNER, "bootstrap", SCOPES)
    details = {"partner": PARTNER, "scopes": SCOPES}
    await audit(mongo, by=BY, action="key.add", target=made["id"], account=account, details=details)
    said.append(f"a key for partner {PARTNER}")
    return made["key"]


def _addresses(settings: ConsoleSettings) -> dict[str, Any]:
    return {
        "url": settings.console_url,
        "collector_url": settings.collector_url,
        "delivery_url": settings.delivery_url,
        "scheduler_url": settings.scheduler_url,
        "executor_url": settings.executor_url,
    }


def _read(path: Path) -> dict[str, str]:
    """What the file says, or nothing when there is none or it is broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace the file as a whole, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp makes it 0600
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the first account, user, partner and key.")
    parser.add_argument("--out", type=Path, required=True, help="Where admin.json is written.")
    parser.add_argument("--account", default=ACCOUNT, help="The first account's name.")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", arguments.account):
        parser.error("--account: small letters, digits, - and _, 63 at most")
    settings = load(ConsoleSettings, "console")
    try:
        said = asyncio.run(bootstrap(settings, arguments.out, arguments.account))
    except (RegenteError, OSError) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"bootstrap: {', '.join(said) or 'everything is there'} ({arguments.out})")


if __name__ == "__main__":
    main()
