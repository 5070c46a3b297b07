"""One-off runs by API: what is checked, what is stored, and that nothing of it is published."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.integration.console.site import ACME, OTHER, Site, answer_commands, now, put_worker, workflow_files

SCHEMA = "input: {type: object, required: [registration], properties: {registration: {type: string}}}\n"


def folder(name: str = "") -> dict[str, str]:
    """A workflow that nobody published, whose input is checked."""
    files = workflow_files(name or f"flow-{uuid.uuid4().hex[:8]}")
    return {**files, "workflow.yaml": files["workflow.yaml"].replace("input: {type: object}\n", SCHEMA)}


def ask(http: httpx.Client, files: dict[str, str], **body: Any) -> httpx.Response:
    wanted = {"account": ACME, "files": files, "worker": "0b0000000001", "input": {"registration": "1"}, **body}
    return http.post("workflows/once", json=wanted)


@pytest.fixture(autouse=True)
def robots(console: Site) -> None:
    put_worker(console, "0b0000000001", ACME)
    put_worker(console, "0b0000000002", OTHER)
    put_worker(console, "0b0000000003", None, connected=False)


def test_a_one_off_run_is_asked_for_and_nothing_is_published(console: Site) -> None:
    files = folder("tried-out")
    with console.client("ada") as http, answer_commands(console, "done", "task") as commands:
        first, again = ask(http, files), ask(http, files)
        assert (first.status_code, first.json()["state"]) == (200, "done")
        assert http.get(f"workflows/{ACME}/tried-out").status_code == 404
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
        assert http.get(f"workflows/{ACME}/tried-out").json()["current"] == 1
        listed = http.get(f"workflows/{ACME}/tried-out/versions").json()["items"]
        assert [one["number"] for one in listed] == [1]
    version = first.json()["version"]
    assert again.json()["version"] == version
    assert first.json()["task"] == f"task_{first.json()['command'].removeprefix('cmd_')}"
    stored = console.db["versions"].find_one({"_id": version})
    assert stored is not None
    assert (stored["files"], "number" in stored, stored["stored_by"]) == (files, False, "ada")
    assert stored["expires_at"] > now() + timedelta(days=30)
    assert [(one["kind"], one["to"], one["target"]) for one in commands] == [
        ("run.once", "scheduler", "0b0000000001")
    ] * 2
    args = {"account": ACME, "workflow": "tried-out", "version": version, "scenario": "only"}
    assert commands[0]["args"] == {**args, "input": {"registration": "1"}}
    audited = console.db["audit"].find_one({"action": "run.once", "details.version": version})
    assert audited is not None
    assert "input" not in audited["details"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"worker": "0b0000000002"}, 404, "does not exist"),
        ({"worker": "0b0000000003"}, 409, "is not connected"),
        ({"account": OTHER}, 404, "account other"),
        ({"scenario": "none"}, 422, "there is no scenario none; there is: only"),
        ({"input": {}}, 422, "'registration' is a required property"),
        ({"input": {"registration": 3}}, 422, "registration: 3 is not of type"),
    ],
)
def test_what_can_not_be_run_is_refused(console: Site, body: dict[str, Any], status: int, text: str) -> None:
    before = console.db["versions"].count_documents({})
    with console.client("ada") as http:
        answer = ask(http, folder(), **body)
    assert (answer.status_code, text in answer.text) == (status, True), answer.text
    assert console.db["versions"].count_documents({}) == before


def test_who_sees_all_is_told_that_a_robot_is_anothers(console: Site, admin: httpx.Client) -> None:
    answer = ask(admin, folder(), worker="0b0000000002")
    assert (answer.status_code, "belongs to another account" in answer.text) == (409, True)


def test_broken_files_and_other_roles_are_refused(console: Site) -> None:
    with console.client("ada") as http, console.client("otto") as operator:
        broken = ask(http, {**folder(), "tax.py": "def setup(group: dict[str, str]) -> None:\n    nonsense()\n"})
        assert (broken.status_code, broken.json()["errors"][0]["file"]) == (422, "tax.py")
        assert ask(operator, folder()).status_code == 403
