"""A file that a person uploads, through everything: previewed, handed in while the collector is killed, delivered."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e import invariants
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal, tasks

__all__ = ["healthy_portal"]
ROWS = 1500
LATER = "2099-01-01T00:00:00Z"
NAMES = ("reference", "not_before", "registration", "certificate", "kind", "period")


def csv_of(items: list[dict[str, Any]], not_before: str = "") -> str:
    lines = [";".join(NAMES)]
    for one in items:
        values = {"reference": one["reference"], "not_before": not_before, **one["input"]}
        lines.append(";".join([one["reference"], *(str(values[name]) for name in NAMES[1:])]))
    return "\n".join(lines)


def upload(stack: Stack, text: str) -> dict[str, Any]:
    """A file as the console previews it; columns by a mapping, as the input has a field `reference` of its own."""
    mapping = {"reference": "reference", "not_before": "not_before", "input": {name: name for name in NAMES[2:]}}
    form = {"account": stack.console.account, "workflow": "tax-certificate", "mapping": json.dumps(mapping)}
    return stack.console._call("POST", "uploads", data=form, files={"file": ("tasks.csv", text.encode())})


def confirm(stack: Stack, id: str) -> dict[str, Any]:
    return stack.console._call("POST", f"uploads/{id}/confirm")


def made(stack: Stack, id: str) -> list[dict[str, Any]]:
    return list(stack.database["tasks"].find({"batch": f"batch_{id.removeprefix('upload_')}"}))


def test_an_uploaded_file_is_run_and_delivered(stack: Stack) -> None:
    rows = tasks(3)
    rows[1]["input"]["kind"] = "unheard-of"
    seen = upload(stack, csv_of(rows))
    assert seen["counts"] == {"rows": 3, "new": 2, "duplicate": 0, "refused": 1}
    handed = stack.until(lambda: (said := confirm(stack, seen["id"]))["state"] == "done" and said, "it is handed in")
    assert (handed["accepted"], handed["duplicates"], handed["rejected"]) == (2, 0, 0)
    ids = [one["id"] for one in handed["tasks"]]
    assert stack.until_settled(ids) == ["succeeded"] * 2
    assert {stack.task(id)["source"] for id in ids} == {f"{stack.console.account}/hand"}
    invariants.check(stack, ids)


def test_a_collector_that_is_killed_makes_every_row_one_task(stack: Stack) -> None:
    rows = tasks(ROWS)
    seen = upload(stack, csv_of(rows, LATER))
    assert seen["counts"]["new"] == ROWS
    stack.kill("collector-1")
    asked = confirm(stack, seen["id"])
    stack.until(lambda: len(made(stack, seen["id"])) > 0, "some rows are tasks")
    stack.kill("collector-1")
    handed = stack.until(lambda: (said := confirm(stack, seen["id"]))["state"] == "done" and said, "it is handed in")
    assert (asked["command"], asked["batch"]) == (handed["command"], handed["batch"])
    assert (handed["accepted"], handed["duplicates"], handed["rejected"]) == (ROWS, 0, 0)
    stored = made(stack, seen["id"])
    assert sorted(one["reference"] for one in stored) == sorted(one["reference"] for one in rows)
    assert stack.database["tasks"].count_documents({"reference": {"$in": [one["reference"] for one in rows]}}) == ROWS
    assert confirm(stack, seen["id"])["accepted"] == ROWS
    stack.database["tasks"].delete_many({"batch": handed["batch"]})
