"""The processes of a local installation: what the launcher wrote down, and whether each answers.

Called by: commands/status.py, commands/doctor.py. Source: run/processes.json under REGENTE_HOME, a list of
{service, instance, pid, port, version, state, restarts}.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from cli.errors import Usage
from cli.home import PROCESSES_FILE

PROBE_TIMEOUT_S = 2.0
WITH_READYZ = frozenset({"console", "collector", "scheduler", "executor", "delivery", "alerts"})
"""Services that answer GET /readyz; servers, robots and the demo's own programs don't."""


def read_processes(home: Path) -> list[dict[str, Any]] | None:
    """What the launcher wrote, or none when it never did.

    Raises: Usage when the file can't be read.
    """
    path = home / PROCESSES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Usage(f"{path} can't be read: {error}") from error
    if isinstance(content, dict):
        content = content.get("processes")
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


def with_readiness(processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each process with `alive`, and `ready` and `reason` where it has an HTTP port."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(_probe, processes))


def _probe(process: dict[str, Any]) -> dict[str, Any]:
    alive = _alive(process.get("pid"))
    probed = {**process, "alive": alive, "ready": None, "reason": None}
    if not process.get("port") or str(process.get("service")) not in WITH_READYZ:
        return probed
    try:
        answer = httpx.get(f"http://127.0.0.1:{process['port']}/readyz", timeout=PROBE_TIMEOUT_S)
    except httpx.HTTPError as error:
        return {**probed, "ready": False, "reason": str(error) or type(error).__name__}
    if answer.status_code == 200:
        return {**probed, "ready": True}
    return {**probed, "ready": False, "reason": _detail(answer)}


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail") or answer.status_code)
    except (ValueError, AttributeError):
        return f"status {answer.status_code}"


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError, OverflowError):
        return False
    return True
