"""How the partner hands tasks in: a CSV file, pushed to the collector over HTTP.

A push is safe to repeat: (workflow, reference) names a task for ever, so a push whose answer was lost is sent again as
it is, and what had arrived comes back as `duplicate`.

Owns: the CSV's columns and the retries. Called by: `python -m demo.partner push`, demo.run. Survives a crash: push the
file again with the same stamp. Change also: demo/tasks.csv and the input schema in demo/workflow/workflow.yaml.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

WORKFLOW = "tax-certificate"
BATCH_TASKS_MAX = 500
RETRY_S = 60
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class TryAgain(Exception):
    """The collector could not be reached or asked for patience; the push may or may not have arrived."""


class PushRefused(Exception):
    """The collector refused the push as a whole; its answer is the text."""


@dataclass
class Pushed:
    """What became of a push."""

    batches: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """Reference to task id, duplicates included."""
    duplicates: list[str] = field(default_factory=list)
    rejected: dict[str, list[Any]] = field(default_factory=dict)
    """Reference to the reasons."""


def read_tasks(path: Path, stamp: str) -> list[dict[str, Any]]:
    """The tasks of a CSV file, as the collector takes them; `stamp` makes their references unique to one push.

    Raises: ValueError when a column is missing or a priority is no number.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [_task(row, stamp) for row in rows]
    except KeyError as error:
        raise ValueError(f"{path}: the column {error.args[0]} is missing") from error


def push(client: httpx.Client, key: str, tasks: list[dict[str, Any]]) -> Pushed:
    """Hand tasks in, in batches, each sent again with backoff until it is answered.

    `client` has the collector's address as its base. Raises: PushRefused, or TryAgain after RETRY_S seconds.
    """
    pushed = Pushed()
    for start in range(0, len(tasks), BATCH_TASKS_MAX):
        body = {"workflow": WORKFLOW, "tasks": tasks[start : start + BATCH_TASKS_MAX]}
        retrying = Retrying(
            retry=retry_if_exception_type(TryAgain),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_after_delay(RETRY_S),
            reraise=True,
        )
        _enter(pushed, retrying(_send, client, key, body))
    return pushed


def _send(client: httpx.Client, key: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = client.post("/v1/tasks", json=body, headers={"authorization": f"Bearer {key}"})
    except httpx.TransportError as error:
        raise TryAgain(f"no answer from {client.base_url}: {error}") from error
    if answer.status_code in _RETRIED:
        raise TryAgain(f"{answer.status_code} from {answer.url}: {answer.text[:500]}")
    if answer.status_code != 202:
        raise PushRefused(f"{answer.status_code} from {answer.url}: {answer.text[:2000]}")
    result: dict[str, Any] = answer.json()
    return result


def _enter(pushed: Pushed, answer: dict[str, Any]) -> None:
    pushed.batches.append(answer["batch"])
    for one in answer["accepted"]:
        pushed.accepted[one["reference"]] = one["id"]
        if one["duplicate"]:
            pushed.duplicates.append(one["reference"])
    for one in answer["rejected"]:
        pushed.rejected[one["reference"]] = one["errors"]


def _task(row: dict[str, str], stamp: str) -> dict[str, Any]:
    reference = f"{stamp}-{row['reference']}"
    wanted = {name: row[name] for name in ("registration", "certificate", "kind", "period")}
    return {"reference": reference, "priority": int(row["priority"]), "input": {**wanted, "reference": reference}}
