"""`regente` against a real console and a real collector."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.integration.collector.running import Instance, running
from tests.integration.console.site import (
    ACME,
    PNG,
    Site,
    answer_commands,
    put_evidence,
    put_log,
    put_run,
    put_task,
    put_worker,
    replay_report,
    workflow_files,
)


@pytest.fixture(scope="module")
def collector(console: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A collector on the same data."""
    with running("collector", console.ground, tmp_path_factory.mktemp("collector")) as instance:
        yield instance


@pytest.fixture
def regente(console: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line; the exit code must be the expected one."""
    for name in ("URL", "TOKEN", "KEY", "COLLECTOR_URL", "DELIVERY_URL", "ACCOUNT"):
        monkeypatch.delenv(f"REGENTE_{name}", raising=False)
    monkeypatch.setenv("REGENTE_HOME", str(console.home))
    monkeypatch.setenv("COLUMNS", "240")

    def run(*arguments: str, code: int = 0, text: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(arguments), input=text)
        assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    return run


def read_json(result: Result) -> Any:
    """What a command printed with --json."""
    return json.loads(result.stdout)


def write_folder(path: Path, files: dict[str, str]) -> str:
    """A workflow's folder."""
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return str(path)


def test_workflow_is_checked_offline_and_pushed(regente: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "good", workflow_files("pushed"))
    assert "nothing is wrong" in regente("workflow", "check", folder).stdout
    broken = "def execute(task):\n    return nothing\n"
    bad = write_folder(tmp_path / "bad", {**workflow_files("bad"), "tax.py": broken})
    refused = regente("workflow", "check", bad, code=1)
    assert f"{bad}/tax.py:2: " in refused.stderr
    assert read_json(regente("workflow", "check", bad, "--json", code=1))["errors"][0]["line"] == 2
    first = read_json(regente("workflow", "push", folder, "--account", ACME, "--json"))
    assert (first["name"], first["number"], first["unchanged"]) == ("pushed", 1, False)
    assert "version 1 is current already" in regente("workflow", "push", folder, "--account", ACME).stdout
    assert "tax.py:2" in regente("workflow", "push", bad, code=1).stderr
    regente("workflow", "check", str(tmp_path / "missing"), code=2)


def test_workflow_is_checked_against_a_run_that_was(regente: Any, console: Site, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "new", workflow_files())
    run = put_run(console, put_task(console), "00155d020a09")
    ask = ("workflow", "check", folder, "--replay", run, "--account", ACME)
    report = replay_report(run)
    with answer_commands(console, progress={"report": json.dumps(report)}):
        shown = regente(*ask, code=1)
        as_json = regente(*ask, "--json", code=1)
    assert "1 of 3 phases would go otherwise; 1 could not be tried" in shown.stderr
    assert "then browser.click(target=objects.issue) (line 11)" in shown.stdout
    assert 'now  browser.fill(target=objects.issue, text="x") (line 12)' in shown.stdout
    assert "objects.issue was css=#issue, now css=#go" in shown.stdout
    assert read_json(as_json)["phases"][1]["seq"] == 4
    same = {**report, "same": True, "phases": report["phases"][:1], "counts": {**report["counts"], "differs": 0}}
    with answer_commands(console, progress={"report": json.dumps(same)}):
        assert "these files would have done the same" in regente(*ask).stdout
    with answer_commands(console, "refused", "the run's journal is gone"):
        assert "the run's journal is gone" in regente(*ask, code=1).stderr
    broken = write_folder(tmp_path / "broken", {**workflow_files(), "tax.py": "def execute(task):\n    return x\n"})
    assert "tax.py:2" in regente("workflow", "check", broken, "--replay", run, "--account", ACME, code=1).stderr


def test_tasks_are_pushed_from_every_kind_of_file(
    regente: Any, collector: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGENTE_COLLECTOR_URL", collector.url)
    schema = "{type: object, required: [registration], properties: {registration: {type: string}}}"
    files = workflow_files("filed")
    files["workflow.yaml"] = files["workflow.yaml"].replace("{type: object}", schema)
    regente("workflow", "push", write_folder(tmp_path / "filed", files))
    table = tmp_path / "tasks.csv"
    table.write_text("\ufeffreference;registration;priority\nc-1;123;5\nc-2;456;\n")
    assert "2 accepted" in regente("task", "push", str(table), "--workflow", "filed").stdout
    assert "0 accepted, 2 known before" in regente("task", "push", str(table), "-w", "filed").stdout
    lines = "\n".join(json.dumps({"reference": f"n-{n}", "input": {"registration": str(n)}}) for n in range(3))
    assert len(read_json(regente("task", "push", "-", "-w", "filed", "--json", text=lines))["accepted"]) == 3
    good = {"reference": "j-1", "input": {"registration": "1"}}
    (tmp_path / "tasks.json").write_text(
        json.dumps({"workflow": "filed", "tasks": [good, {"reference": "j-2", "input": {}}]})
    )
    partly = regente("task", "push", str(tmp_path / "tasks.json"), code=1)
    assert "1 accepted" in partly.stdout
    assert "task 2 (j-2)" in partly.stderr
    listed = read_json(regente("task", "list", "--workflow", "filed", "--json"))
    assert {one["reference"] for one in listed} == {"c-1", "c-2", "n-0", "n-1", "n-2", "j-1"}
    urgent = next(one for one in listed if one["reference"] == "c-1")
    assert urgent["priority"] == 5
    shown = regente("task", "show", urgent["id"]).stdout
    assert "why_waiting" in shown
    assert "123" in shown
    assert "no robot" in regente("queue", "why", urgent["id"]).stdout
    assert "filed" in regente("queue", "list").stdout
    regente("task", "push", str(table), code=2)
    regente("task", "push", str(table), "-w", "unknown-flow", code=1)


def test_held_task_is_settled_and_cancelled(regente: Any, console: Site) -> None:
    task = put_task(console, state="held", hold={"reason": "in_doubt", "text": "took effect?"})
    with answer_commands(console) as commands:
        assert "done" in regente("task", "settle", task, "--outcome", "succeeded", "--output", '{"p": 1}').stdout
        regente("task", "settle", task, "--outcome", "again", "--json")
        regente("task", "cancel", task)
    assert [one["kind"] for one in commands] == ["task.settle", "task.requeue", "task.cancel"]
    assert commands[0]["args"]["output"] == {"p": 1}
    with answer_commands(console, "refused", "too late"):
        assert regente("task", "cancel", task, code=1).stderr == "regente: too late\n"
    regente("task", "settle", task, "--outcome", "perhaps", code=1)
    regente("task", "settle", task, "--outcome", "succeeded", "--output", "[", code=2)
    assert "does not exist" in regente("task", "show", "task_none", code=1).stderr


def test_run_is_shown_and_watched_to_its_end(regente: Any, console: Site) -> None:
    task = put_task(console, state="succeeded")
    run = put_run(console, task, put_worker(console, "0d0000000001", ACME))
    assert run in regente("run", "list", "--worker", "0d0000000001").stdout
    shown = regente("run", "show", run).stdout
    assert "tax.py:11" in shown
    assert "TIMEOUT: the button did not appear" in shown
    assert [one["seq"] for one in read_json(regente("run", "show", run, "--json"))["steps"]] == [1, 2, 3, 4, 5, 6]
    watched = regente("run", "watch", run).stdout
    assert watched.count("browser.click") == 2
    assert watched.rstrip().endswith("completed")


def test_evidence_is_fetched_and_compared(regente: Any, console: Site, tmp_path: Path) -> None:
    link = put_evidence(console, "run_y", put_task(console), 3, "../before issuing")
    fetched = read_json(regente("evidence", "get", link, "--out", str(tmp_path), "--json"))
    assert Path(fetched["file"]).parent == tmp_path
    assert Path(fetched["file"]).read_bytes() == PNG
    assert fetched["sha256"] == hashlib.sha256(PNG).hexdigest()
    other = put_evidence(console, "run_y", put_task(console), 4, "other", data=b"other bytes")
    stored = console.db["evidence"].find_one({"_id": hashlib.sha256(b"other bytes").hexdigest()})
    assert stored is not None
    console.db["evidence"].insert_one({**stored, "_id": "0" * 64})  # bytes that are not those of the hash
    console.db["evidence_links"].update_one({"_id": other}, {"$set": {"sha256": "0" * 64}})
    refused = regente("evidence", "get", other, "--out", str(tmp_path / "never"), code=1)
    assert "hash" in refused.stderr
    assert not (tmp_path / "never").exists()


def test_workers(regente: Any, console: Site) -> None:
    worker = put_worker(console, "0d0000000002", None, authorisation="pending", connected=False)
    assert worker in regente("worker", "list").stdout
    with answer_commands(console) as commands:
        regente("worker", "authorise", worker, "--account", ACME)
        regente("worker", "mode", worker, "pause")
        regente("worker", "revoke", worker)
        regente("worker", "remove", worker, "--json")
    assert [(one["kind"], one["args"]) for one in commands] == [
        ("worker.authorise", {"account": ACME}),
        ("worker.mode", {"mode": "pause"}),
        ("worker.revoke", {}),
        ("worker.remove", {}),
    ]
    assert "asked for" in regente("worker", "revoke", worker).stdout
    console.db["commands"].delete_many({"state": "pending"})
    regente("worker", "mode", worker, "dance", code=2)
    regente("worker", "authorise", worker, "--account", ACME, "--shared", code=2)


def test_logs_filter_by_robot(regente: Any, console: Site) -> None:
    for n in range(4):
        put_log(console, f"line {n}", service="agent", worker=("0d000000000a", "0d000000000b")[n % 2])
    out = regente("logs", "--worker", "0d000000000a").stdout
    assert "line 0" in out
    assert "line 1" not in out
    lines = regente("logs", "--worker", "0d000000000b", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["line 1", "line 3"]


def test_keys_are_made_on_terms_rotated_and_revoked(regente: Any, console: Site) -> None:
    terms = ("--network", "203.0.113.0/24", "--requests-per-min", "60", "--expires-days", "30", "--signing")
    made = read_json(regente("key", "create", "--account", ACME, "--partner", "cli-terms", *terms, "--json"))
    assert made["signing_secret"].startswith("whsec_")
    rotated = regente("key", "rotate", made["id"], "--overlap-hours", "1")
    new, secret = rotated.stdout.split()
    assert secret.startswith("whsec_")
    assert "the old key works until" in rotated.stderr
    assert console.db["keys"].find_one({"_id": new.split("_")[1]})["networks"] == ["203.0.113.0/24"]
    assert made["id"] in regente("key", "revoke", made["id"]).stderr
    listed = {one["id"]: one for one in read_json(regente("key", "list", "--account", ACME, "--json"))}
    assert listed[made["id"]]["revoked_at"]
    table = regente("key", "list").stdout
    assert "revoked" in table
    assert "good" in table
    assert "hash" not in table
    assert "network" in regente("key", "create", "--partner", "x", "--account", ACME, "--network", "x", code=1).stderr


def test_keys_and_users_are_made(regente: Any, console: Site) -> None:
    key = regente("key", "create", "--account", ACME, "--partner", "cli-partner").stdout.strip()
    assert console.db["keys"].find_one({"_id": key.split("_")[1]}) is not None
    made = read_json(regente("user", "add", "cli-user", "--role", "operator", "--account", ACME, "--json"))
    assert len(made["password"]) >= 16
    assert "exists" in regente("user", "add", "cli-user", "--account", ACME, code=1).stderr
    given = regente("user", "add", "cli-user-2", "--account", ACME, "--password-stdin", text="a long password\n")
    assert "a long password" not in given.output
    regente("user", "add", "cli-user-3", "--role", "emperor", "--account", ACME, code=1)


def test_deliveries_are_listed(regente: Any, console: Site) -> None:
    assert isinstance(read_json(regente("delivery", "list", "--state", "dead", "--json")), list)
    regente("delivery", "replay", code=2)
    assert "does not exist" in regente("delivery", "replay", "none", code=1).stderr


def test_status_reads_what_the_launcher_wrote(regente: Any, console: Site) -> None:
    port = int(console.url.rsplit(":", 1)[1])
    about = {"pid": os.getpid(), "version": "0.1.0", "state": "running", "restarts": 0}
    row = {"service": "console", "instance": "console-1", "port": port, **about}
    (console.home / "run").mkdir(exist_ok=True)
    processes = console.home / "run" / "processes.json"
    processes.write_text(json.dumps([row]))
    (shown,) = read_json(regente("status", "--json"))
    assert {name: shown[name] for name in row} == row
    assert shown["ready"] is True
    processes.write_text(json.dumps([row, {**row, "service": "executor", "instance": "executor-1", "port": 9}]))
    assert "not ready: executor-1" in regente("status", code=1).stderr
    processes.unlink()


def test_doctor_says_what_to_do(regente: Any, console: Site) -> None:
    put_worker(console, "0d0000000003", None, authorisation="pending", connected=False)
    (console.home / "admin.json").chmod(0o644)
    findings = read_json(regente("doctor", "--json", code=1))
    (console.home / "admin.json").chmod(0o600)
    assert stat.S_IMODE((console.home / "admin.json").stat().st_mode) == 0o600
    wrong = {one["check"]: one for one in findings if one["state"] == "wrong"}
    assert "chmod 600" in wrong["admin.json"]["todo"]
    assert "services" in wrong
    assert {one["state"] for one in findings if one["check"] in ("database", "broker", "console")} == {"ok"}
    assert any("regente worker authorise 0d0000000003" in one["todo"] for one in findings)
    assert all(one["todo"] for one in findings if one["state"] != "ok")


def test_objects_of_a_workflow_and_warnings_when_it_is_pushed(regente: Any, console: Site, tmp_path: Path) -> None:
    objects = "issue: {title: Issue, selectors: ['css=#issue', 'text=Issue']}\nold: {selectors: ['css=#old']}\n"
    folder = write_folder(tmp_path / "named", {**workflow_files("named"), "objects.yaml": objects})
    checked = read_json(regente("workflow", "check", folder, "--json"))
    assert checked["warnings"] == [{"file": "objects.yaml", "line": 2, "message": "old is used by no script"}]
    assert "objects.yaml:2: warning: old is used" in regente("workflow", "push", folder, "--account", ACME).stderr
    found = read_json(regente("workflow", "objects", f"{ACME}/named", "--json"))
    assert [(one["name"], len(one["selectors"]), one["uses"]) for one in found["items"]] == [
        ("issue", 2, 0),
        ("old", 1, 0),
    ]
    shown = regente("workflow", "objects", f"{ACME}/named").stdout
    assert "css=#issue" in shown
    assert "text=Issue" in shown
    assert read_json(regente("workflow", "objects", f"{ACME}/named", "--stale", "--json"))["items"] == []


def test_without_an_installation_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "URL", "TOKEN", "KEY"):
        monkeypatch.delenv(f"REGENTE_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["task", "list"])
    assert result.exit_code == 2
    assert result.stderr.startswith("regente: no installation found: set REGENTE_URL")
    monkeypatch.setenv("REGENTE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("REGENTE_TOKEN", "x")
    result = CliRunner().invoke(app, ["task", "list"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "does not answer" in result.stderr


def test_wrong_token_is_refused_in_one_line(regente: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENTE_TOKEN", "rgs_wrong")
    assert "log in" in regente("task", "list", code=1).stderr
