"""`regente service-users`: a user of broker and database for each service, and the files that services read them from.

Called by: cli.main. Needs the addresses of administrators of both, and no running service. Run again it keeps the
passwords and puts rights as this version needs them. Change also: docs/security.md, shared/contracts/rights.py.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import httpx
import typer
from pymongo.errors import PyMongoError

from cli.errors import Refused, Usage
from cli.output import say
from shared.contracts.rights import SERVICES, broker_rights, user_of
from shared.runtime.users import as_user, make_broker_users, make_database_users


def service_users(
    folder: Annotated[Path, typer.Argument(help="Where the files lie: SERVICE/password, amqp_url, env ..")],
    new_passwords: Annotated[bool, typer.Option(help="New passwords; restart the services then.")] = False,
    write_files: Annotated[bool, typer.Option(help="No: SERVICE/password is there, and nothing is written.")] = True,
) -> None:
    """Make a user of broker and database for each service, with the rights that its work needs.

    Administrators' addresses: REGENTE_AMQP_URL (with the virtual host), REGENTE_AMQP_ADMIN_URL, REGENTE_MONGO_URL;
    REGENTE_MONGO_DB, REGENTE_CA_FILE as for services, and REGENTE_.._FILE instead of an address.
    """
    amqp, admin, mongo = (_setting(f"REGENTE_{name}") for name in ("AMQP_URL", "AMQP_ADMIN_URL", "MONGO_URL"))
    db, trusted = os.environ.get("REGENTE_MONGO_DB") or "regente", os.environ.get("REGENTE_CA_FILE", "")
    vhost = unquote(urlsplit(amqp.split(",")[0]).path[1:]) or "/"
    try:
        if write_files:
            passwords = {name: _password(folder / name, new_passwords) for name in SERVICES}
        else:
            passwords = {name: (folder / name / "password").read_text(encoding="utf-8") for name in SERVICES}
        make_database_users(mongo, db, passwords, trusted)
        make_broker_users(admin, vhost, passwords, trusted)
        for name, password in passwords.items() if write_files else ():
            user, looks = user_of(name), bool(broker_rights(name).tags)
            _write(folder / name / "amqp_url", as_user(amqp, user, password))
            _write(folder / name / "mongo_url", as_user(mongo, user, password))
            _write(folder / name / "amqp_admin_url", as_user(admin, user, password) if looks else "")
            _write(folder / name / "env", _environment((folder / name).absolute()))
    except OSError as error:
        raise Usage(f"{error.filename or folder}: {error.strerror}") from error
    except PyMongoError as error:
        raise Refused(
            f"the database: {str(error).splitlines()[0][:300]}; is REGENTE_MONGO_URL an administrator's?"
        ) from error
    except httpx.HTTPError as error:
        raise Refused(f"the broker: {error}; is REGENTE_AMQP_ADMIN_URL an administrator's?") from error
    say(f"{len(passwords)} users at broker and database; REGENTE_AMQP_URL_FILE={folder}/SERVICE/amqp_url and so on")


def _environment(folder: Path) -> str:
    """Settings that name a service's files, for an EnvironmentFile of systemd."""
    names = ("amqp_url", "amqp_admin_url", "mongo_url")
    return "".join(f"REGENTE_{name.upper()}_FILE={folder / name}\n" for name in names)


def _setting(name: str) -> str:
    """An administrator's address, also out of a file.

    Raises: Usage.
    """
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    try:
        value = value or (Path(file).read_text(encoding="utf-8").strip() if file else "")
    except OSError as error:
        raise Usage(f"{name}_FILE: {file} can't be read: {error.strerror}") from error
    if not value:
        raise Usage(f"set {name} (or {name}_FILE) to the address of an administrator")
    return value


def _password(folder: Path, new: bool) -> str:
    """A service's password; kept where there is one."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "password"
    if new or not file.exists():
        _write(file, secrets.token_urlsafe(32))
    return file.read_text(encoding="utf-8")


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and readable by its owner alone."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.rename(file)
