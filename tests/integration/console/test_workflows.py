"""Check, publish, versions and settings."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.integration.console.site import ACME, Site, workflow_files


def _publish(http: httpx.Client, files: dict[str, str], **fields: Any) -> httpx.Response:
    return http.post("workflows", json={"account": ACME, "files": files, **fields})


def _name() -> str:
    return f"flow-{uuid.uuid4().hex[:8]}"


def test_what_is_wrong_comes_with_file_and_line(admin: httpx.Client) -> None:
    files = {**workflow_files(_name()), "tax.py": "def execute(task: dict[str, str]) -> int:\n    return 'x'\n"}
    for path, body in (("workflows/check", {"files": files}), ("workflows", {"account": ACME, "files": files})):
        answer = admin.post(path, json=body)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["file"], error["line"]) == ("tax.py", 2)
        assert answer.json()["detail"].startswith("tax.py:2: ")


def test_check_stores_nothing(console: Site, admin: httpx.Client) -> None:
    name = _name()
    answer = admin.post("workflows/check", json={"files": workflow_files(name)})
    assert answer.status_code == 200
    assert answer.json()["errors"] == []
    assert console.db["workflows"].find_one({"name": name}) is None


def test_same_files_are_one_version(console: Site, admin: httpx.Client) -> None:
    name = _name()
    first = _publish(admin, workflow_files(name)).json()
    again = _publish(admin, dict(reversed(workflow_files(name).items()))).json()
    assert (first["number"], first["unchanged"]) == (1, False)
    assert again == {**first, "unchanged": True}
    changed = _publish(admin, workflow_files(name, "  # changed")).json()
    assert (changed["number"], changed["unchanged"]) == (2, False)
    back = _publish(admin, workflow_files(name)).json()
    assert (back["number"], back["unchanged"]) == (3, False)
    found = admin.get(f"workflows/{ACME}/{name}").json()
    assert found["current"] == 3
    numbers = [one["number"] for one in admin.get(f"workflows/{ACME}/{name}/versions").json()["items"]]
    assert numbers == [3, 2, 1]
    version = admin.get(f"workflows/{ACME}/{name}/versions/2").json()
    assert version["files"] == workflow_files(name, "  # changed")
    assert version["objects"] == {"issue": {"selectors": ["css=#issue"], "title": "", "environments": {}}}
    stored = console.db["versions"].find_one({"_id": f"{ACME}/{name}/1"})
    assert stored is not None
    assert stored["timeouts"] == {"task_s": 1800.0, "instruction_s": 60.0}
    (scenario,) = stored["scenarios"]
    assert scenario.items() >= {"name": "only", "max_tasks": 10, "worker": True, "script": "tax.py"}.items()


def test_publishing_at_once_gives_every_text_one_number(console: Site, admin: httpx.Client) -> None:
    name = _name()
    texts = [workflow_files(name, f"  # {n % 3}") for n in range(6)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        answers = list(pool.map(lambda files: _publish(admin, files), texts))
    assert {answer.status_code for answer in answers} == {200}
    versions = list(console.db["versions"].find({"account": ACME, "workflow": name}).sort("number", 1))
    assert [one["number"] for one in versions] == list(range(1, len(versions) + 1))
    for answer in answers:
        body = answer.json()
        assert versions[body["number"] - 1]["digest"] == body["digest"]
    assert admin.get(f"workflows/{ACME}/{name}").json()["current"] == versions[-1]["number"]


def test_version_that_did_not_become_current_is_found_again(console: Site, admin: httpx.Client) -> None:
    name = _name()
    _publish(admin, workflow_files(name))
    console.db["workflows"].update_one(
        {"name": name}, {"$set": {"current": None}}
    )  # as a crash between the two leaves it
    again = _publish(admin, workflow_files(name)).json()
    assert (again["number"], again["unchanged"]) == (1, False)
    assert admin.get(f"workflows/{ACME}/{name}").json()["current"] == 1


def test_settings_are_the_files_first_and_peoples_then(console: Site, admin: httpx.Client) -> None:
    name = _name()
    _publish(admin, workflow_files(name, priority=2))
    path = f"workflows/{ACME}/{name}"
    first = admin.get(path).json()["settings"]
    assert (first["priority"], first["retry"]["delay_s"], first["retry"]["attempts"]) == (2, 5.0, 2)
    changed = admin.patch(f"{path}/settings", json={"priority": 5, "retry": {"attempts": 7}}).json()["settings"]
    assert changed == {**first, "priority": 5, "retry": {**first["retry"], "attempts": 7}}
    _publish(admin, workflow_files(name, "  # more", priority=2))
    assert admin.get(path).json()["settings"] == changed
    _publish(admin, workflow_files(name, "  # more", priority=2), settings=True)
    assert admin.get(path).json()["settings"] == first
    audited = [
        one["action"] for one in console.db["audit"].find({"target": f"{ACME}/{name}"}).sort([("at", 1), ("_id", 1)])
    ]
    assert audited == ["workflow.publish", "workflow.settings", "workflow.publish", "workflow.settings"]


def test_settings_out_of_range_are_refused(admin: httpx.Client) -> None:
    name = _name()
    _publish(admin, workflow_files(name))
    for change in ({"priority": 6}, {"retry": {"attempts": 0}}, {"unknown": 1}, {"retry": {"delay_s": -1}}):
        assert admin.patch(f"workflows/{ACME}/{name}/settings", json=change).status_code == 422


def test_limits_of_a_folder(admin: httpx.Client) -> None:
    many = {f"file{n}.txt": "x" for n in range(70)}
    assert _publish(admin, {**workflow_files(_name()), **many}).status_code == 422
    assert _publish(admin, {**workflow_files(_name()), "big.txt": "x" * 300_000}).status_code == 422
    assert _publish(admin, {**workflow_files(_name()), "../evil.py": "x"}).status_code == 422
