"""`regente status`: every process with service, pid, port, version, state."""

from __future__ import annotations

from typing import Any

from cli import output
from cli.client import Client
from cli.errors import Refused, Usage
from cli.home import find_home
from cli.output import JsonOption
from cli.processes import read_processes, with_readiness


def status(as_json: JsonOption = False) -> None:
    """How the installation's processes stand; exit code 1 when one of them does not answer."""
    home = find_home()
    processes = read_processes(home) if home else None
    rows = with_readiness(processes) if processes is not None else _remote()
    if as_json:
        output.print_json(rows)
    else:
        _show(rows)
    wrong = [str(one.get("instance") or one["service"]) for one in rows if not _good(one)]
    if wrong:
        raise Refused(f"not ready: {', '.join(wrong)}")


def _remote() -> list[dict[str, Any]]:
    """Without the launcher's file: what the console says of the services."""
    with Client() as client:
        if not client.access.url:
            raise Usage("no installation found here: `make up` starts one, REGENTE_HOME or REGENTE_URL names one")
        services = client.call("GET", "cluster")["services"]
    return [
        {"service": one["service"], "url": one["url"], "ready": one["ready"], "reason": one["reason"]}
        for one in services
    ]


def _good(process: dict[str, Any]) -> bool:
    return process.get("ready") is not False and process.get("alive", True)


def _show(rows: list[dict[str, Any]]) -> None:
    table = [
        (
            one["service"],
            one.get("instance"),
            one.get("pid"),
            one.get("port") or one.get("url"),
            one.get("version"),
            one.get("state"),
            one.get("restarts"),
            {True: "ready", False: "wrong"}.get(one["ready"]),
            one.get("reason") if one.get("alive", True) else "its process is gone",
        )
        for one in rows
    ]
    columns = ("service", "instance", "pid", "port", "version", "state", "restarts", "ready", "reason")
    output.print_table(columns, table, "no process: `make up` starts the installation")
