"""`python -m demo.partner` takes deliveries; `python -m demo.partner push FILE --stamp S` hands tasks in.

Owns: the process and its command line. Called by: the local stack's launcher, people, tests. Survives a crash: see
store.py. Change also: demo/processes.py and demo/README.md.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import uvicorn
from pydantic import ValidationError

from demo.partner.app import make_app
from demo.partner.config import PartnerSettings, ensure_credentials
from demo.partner.push import PushRefused, TryAgain, push, read_tasks

STOP_S = 3


def main(arguments: list[str]) -> int:
    """Serve or push; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.partner", description="The demo's partner.")
    commands = parser.add_subparsers(dest="command")
    pushing = commands.add_parser("push", help="hand the tasks of a CSV file in")
    pushing.add_argument("file", type=Path)
    pushing.add_argument("--stamp", default=f"{datetime.now(UTC):%Y%m%d%H%M%S}", help="prefix of every reference")
    chosen = parser.parse_args(arguments)
    try:
        settings = PartnerSettings()
    except ValidationError as error:
        print(f"partner: a setting is wrong: {error}", file=sys.stderr)
        return 2
    return serve(settings) if chosen.command is None else push_file(settings, chosen.file, chosen.stamp)


def serve(settings: PartnerSettings) -> int:
    """Take deliveries until SIGTERM; returns the exit code."""
    secret = ensure_credentials(settings).secret
    app = make_app(settings.database, secret)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.partner_host,
            port=settings.partner_port,
            ws="none",
            log_level="info",
            timeout_graceful_shutdown=STOP_S,
        )
    )
    server.run()
    return 0 if server.started else 1


def push_file(settings: PartnerSettings, file: Path, stamp: str) -> int:
    """Hand the tasks of a CSV file in and say what became of each; returns the exit code."""
    credentials = ensure_credentials(settings)
    if credentials.collector_url is None or credentials.key is None:
        print(f"partner: no key yet: put collector_url and key in {settings.credentials_file}", file=sys.stderr)
        return 2
    try:
        with httpx.Client(base_url=credentials.collector_url, timeout=30) as client:
            pushed = push(client, credentials.key, read_tasks(file, stamp))
    except (OSError, ValueError, PushRefused, TryAgain) as error:
        print(f"partner: nothing more was pushed: {error}", file=sys.stderr)
        return 1
    for reference, task in pushed.accepted.items():
        print(f"{reference}\t{task}{'  (known already)' if reference in pushed.duplicates else ''}")
    for reference, errors in pushed.rejected.items():
        print(f"{reference}\trejected: {errors}", file=sys.stderr)
    return 1 if pushed.rejected else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
