"""`regente certs`: an authority of one's own, and certificates for servers and services, as files.

Called by: cli.main. Needs no installation. Change also: docs/security.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import Usage
from cli.output import say
from shared.runtime.certificates import DAYS, BadCertificates, make


def certs(
    folder: Annotated[Path, typer.Argument(help="Where the files lie; made, and only yours to enter.")],
    names: Annotated[
        list[str], typer.Argument(help="NAME=HOST,HOST: files NAME.pem, .key, .both.pem for these hosts.")
    ],
    days: Annotated[int, typer.Option(help="How long certificates are valid.")] = DAYS,
    readable: Annotated[bool, typer.Option(help="Keys that every user may read, for containers.")] = False,
    new_authority: Annotated[
        bool, typer.Option(help="Replace the authority; the one before stays in ca.pem. Hand ca.pem out first.")
    ] = False,
) -> None:
    """Make an authority and certificates, or what of them is missing or ends soon."""
    wanted: dict[str, list[str]] = {}
    for one in names:
        name, sign, hosts = one.partition("=")
        if not sign:
            raise Usage(f"{one}: give NAME=HOST,HOST, such as collector=api.example,10.0.0.7")
        wanted[name] = [host.strip() for host in hosts.split(",") if host.strip()]
    try:
        made = make(folder, wanted, datetime.now(UTC), days=days, readable=readable, new_authority=new_authority)
    except BadCertificates as error:
        raise Usage(str(error)) from error
    except OSError as error:
        raise Usage(f"{error.filename or folder}: {error.strerror}") from error
    for line in made:
        say(f"made {line}")
    if not made:
        say("everything is there and stays valid for a while")
