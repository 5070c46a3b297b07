"""`regente` steers tasks, queues, robots and workflows, and keeps calendars, portals and settings."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli import output
from tests.integration.console.site import (
    ACME,
    Site,
    answer_commands,
    now,
    put_circuit,
    put_event,
    put_run,
    put_task,
    put_worker,
    until,
    workflow_files,
)


@pytest.fixture
def flow(console: Site, request: pytest.FixtureRequest) -> str:
    """A workflow of its own."""
    name = f"cli-{abs(hash(request.node.name)) % 10**8}"
    with console.client() as admin:
        admin.post("workflows", json={"account": ACME, "files": workflow_files(name)}).raise_for_status()
    return name


def read_json(result: Result) -> Any:
    """What a command printed with --json."""
    return json.loads(result.stdout)


def test_tasks_are_steered_by_id(regente: Any, console: Site) -> None:
    one, two = put_task(console), put_task(console)
    with answer_commands(console) as commands:
        assert regente("task", "hold", one, two, "--text", "wait").stdout == f"{one}: done\n{two}: done\n"
        assert regente("task", "release", one).stdout == "done\n"
        regente("task", "front", one)
        regente("task", "priority", one, "--level", "4")
        regente("task", "priority", one, "--inherit")
        (answer,) = read_json(regente("task", "cancel", one, "--json"))
    assert (answer["task"], answer["state"]) == (one, "done")
    assert [(command["kind"], command["args"]) for command in commands] == [
        ("task.hold", {"text": "wait"}),
        ("task.hold", {"text": "wait"}),
        ("task.release", {}),
        ("task.front", {}),
        ("task.priority", {"priority": 4}),
        ("task.priority", {"priority": None}),
        ("task.cancel", {}),
    ]
    regente("task", "priority", one, code=2)
    regente("task", "priority", one, "--level", "4", "--inherit", code=2)
    regente("task", "priority", one, "--level", "9", code=2)


def test_one_refused_task_keeps_no_other_from_it(regente: Any, console: Site) -> None:
    good, ended = put_task(console), put_task(console, state="succeeded")
    with answer_commands(console) as commands:
        mixed = regente("task", "hold", ended, good, code=1)
    assert [command["target"] for command in commands] == [good]
    assert f"{ended}: the task is succeeded" in mixed.stderr
    assert mixed.stderr.endswith("1 of 2 were refused\n")
    answers = read_json(regente("task", "hold", ended, "task_none", "--json", code=1))
    assert [answer["state"] for answer in answers] == ["refused", "refused"]


def test_queue_shows_what_is_open_and_why_a_task_waits(regente: Any, console: Site, flow: str) -> None:
    limits = json.dumps({"limits": [{"per": "day", "max": 10}]})
    regente("workflow", "settings", flow, "--set", "-", text=limits)
    put_circuit(console, flow, text="certificate revoked")
    task = put_task(console, workflow=flow)

    def row() -> Any:
        rows = read_json(regente("queue", "list", "--json"))
        return next((one for one in rows if one["workflow"] == flow and not one["open"]), None)

    assert until(row, "the row says that it is held")["limits"][0]["max"] == 10
    shown = regente("queue", "list").stdout
    assert "0/10 per day" in shown
    assert "certificate revoked" in shown
    why = regente("queue", "why", task).stdout
    assert "certificate revoked" in why.splitlines()[0]
    assert "facts" in why
    assert "forecast" in why
    assert set(read_json(regente("queue", "why", task, "--json"))) == {"task", "state", "why", "facts", "forecast"}


def test_queue_shows_a_held_scenario(regente: Any, console: Site, flow: str) -> None:
    about = {"account": ACME, "workflow": flow, "scenario": "certificates", "state": "open", "text": "no page"}
    console.db["circuits"].insert_one({"_id": f"{ACME}/{flow}#certificates", "failures": 5, "reason": "setup", **about})
    until(lambda: "scenario certificates is held" in regente("queue", "list").stdout, "the row says so")


def test_many_tasks_at_once_ask_first_and_show_progress(regente: Any, console: Site, flow: str) -> None:
    for _ in range(3):
        put_task(console, workflow=flow)
    assert "--workflow" in regente("queue", "hold", code=2).stderr
    asked = regente("queue", "hold", "--workflow", flow, code=1, text="n\n")
    assert f"hold 3 tasks (account {ACME}, workflow {flow})?" in asked.stderr
    assert "no task matches" in regente("queue", "release", "--workflow", flow, code=1).stderr
    assert console.db["commands"].count_documents({"args.filter.workflow": flow}) == 0
    with answer_commands(console) as commands:
        regente("queue", "hold", "--workflow", flow, "--text", "stock-taking", text="y\n")
        regente("queue", "release", "--workflow", flow, "--state", "held", "--yes")
        regente("queue", "front", "--reference", "r-1", "--reference", "r-2", "--yes")
        regente("queue", "priority", "-w", flow, "--priority", "2", "--level", "5", "--yes")
        regente("queue", "cancel", "--batch", "batch_1", "--created-before", "2026-01-01T00:00", "-y")
        regente("queue", "release", "--all", "--yes")
    args = [command["args"] for command in commands]
    filters = [{name: value for name, value in one["filter"].items() if name != "account"} for one in args]
    assert [one["action"] for one in args] == ["hold", "release", "front", "priority", "cancel", "release"]
    assert filters[:4] == [
        {"workflow": flow},
        {"workflow": flow, "state": "held"},
        {"references": ["r-1", "r-2"]},
        {"workflow": flow, "priority": 2},
    ]
    assert (args[0]["text"], args[3]["priority"], filters[5]) == ("stock-taking", 5, {})
    assert set(filters[4]) == {"batch", "created_before"}
    regente("queue", "cancel", "--created-before", "yesterday", "--yes", code=2)
    regente("queue", "hold", "--workflow", "no-such-flow", "--yes", code=1)


def test_waiting_for_many_follows_the_request_to_its_end(
    regente: Any, console: Site, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        wanted = {"kind": "queue.bulk", "args.filter.workflow": flow, "state": "pending"}
        command = until(lambda: console.db["commands"].find_one(wanted), "it is asked for")
        half = {"done": 2, "skipped": 0, "refused": 0, "finished": False}
        console.db["commands"].update_one({"_id": command["_id"]}, {"$set": {"progress": half}})
        assert shown.wait(20), "it says how far it is"
        end = {"state": "done", "progress": {**half, "done": 5, "refused": 1, "finished": True}, "ended_at": now()}
        console.db["commands"].update_one({"_id": command["_id"]}, {"$set": end})

    def note(text: str) -> None:
        say(text)
        if "2 done" in text:
            shown.set()

    shown, say = threading.Event(), output.note
    monkeypatch.setattr(output, "note", note)
    thread = threading.Thread(target=work)
    thread.start()
    waited = regente("queue", "hold", "--workflow", flow, "--yes", "--wait")
    thread.join()
    assert "going on: 2 done" in waited.stderr
    assert waited.stdout.startswith("5 done, 1 refused (request cmd_")
    listed = read_json(regente("queue", "actions", "--json"))
    mine = next(one for one in listed if one["filter"].get("workflow") == flow)
    assert (mine["state"], mine["progress"]["done"]) == ("done", 5)
    assert mine["command"] in regente("queue", "actions").stdout


def test_robots_are_set_up_and_drained(regente: Any, console: Site, flow: str, tmp_path: Path) -> None:
    worker = put_worker(console, "0d0000000011", ACME, mode="stop", tags=["sap"], exclusive=f"{ACME}/{flow}")
    schedule = tmp_path / "night.yaml"
    schedule.write_text("timezone: America/Sao_Paulo\nwindows:\n- {days: [mon], start: 22:00, end: 10:30}\n")
    with answer_commands(console) as commands:
        regente("worker", "config", worker, "--tag", "sap", "--tag", "citrix", "--workflow", flow, "--exclusive", flow)
        regente(
            "worker", "config", worker, "--no-tags", "--any-workflow", "--no-exclusive", "--shared", "--no-schedule"
        )
        regente("worker", "config", worker, "--account", ACME, "--schedule", str(schedule))
        assert regente("worker", "drain", worker, "--wait").stdout == "drained: it has nothing in hand\n"
        regente("worker", "release", worker, "--json")
    window = {"days": ["mon"], "start": "22:00", "end": "10:30"}
    name = f"{ACME}/{flow}"
    assert [(one["kind"], one["args"]) for one in commands] == [
        ("worker.config", {"tags": ["sap", "citrix"], "workflows": [name], "exclusive": name}),
        (
            "worker.config",
            {"account": None, "workflows": None, "exclusive": None, "tags": [], "schedule": None},
        ),
        ("worker.config", {"account": ACME, "schedule": {"timezone": "America/Sao_Paulo", "windows": [window]}}),
        ("worker.drain", {}),
        ("worker.release", {}),
    ]
    put_worker(console, worker, ACME, tags=["sap"], quarantine={"until": now(), "reason": "3 runs failed"})
    listed = regente("worker", "list").stdout
    assert "sap" in listed
    assert "3 runs failed" in listed
    regente("worker", "config", worker, code=2)
    regente("worker", "config", worker, "--tag", "x", "--no-tags", code=2)
    regente("worker", "config", worker, "--schedule", str(tmp_path / "none.yaml"), code=2)


def test_workflows_are_held_and_their_settings_edited(regente: Any, console: Site, flow: str, tmp_path: Path) -> None:
    with answer_commands(console) as commands:
        regente("workflow", "hold", flow, "--text", "new portal")
        regente("workflow", "release", f"{ACME}/{flow}")
    assert [(one["kind"], one["target"], one["args"]) for one in commands] == [
        ("workflow.hold", f"{ACME}/{flow}", {"text": "new portal"}),
        ("workflow.release", f"{ACME}/{flow}", {}),
    ]
    file = tmp_path / "settings.yaml"
    file.write_text("aging: {every: 2h}\nconcurrency: {runs: 3}\nwindows: [{days: [mon], start: 08:00, end: 18:00}]\n")
    changed = read_json(regente("workflow", "settings", flow, "--set", str(file), "--json"))
    assert (changed["aging"], changed["concurrency"]["runs"]) == ({"every_s": 7200.0}, 3)
    file.write_text(regente("workflow", "settings", flow).stdout)
    assert read_json(regente("workflow", "settings", flow, "--set", str(file), "--json")) == changed
    file.write_text("priority: 9\n")
    assert "priority" in regente("workflow", "settings", flow, "--set", str(file), code=1).stderr
    file.write_text("- priority\n")
    regente("workflow", "settings", flow, "--set", str(file), code=2)
    file.write_text("priority: [\n")
    assert "neither YAML nor JSON" in regente("workflow", "settings", flow, "--set", str(file), code=2).stderr


def test_calendars_and_portals_are_files(regente: Any, console: Site, tmp_path: Path) -> None:
    days = tmp_path / "br-2027.yaml"
    days.write_text("title: Brazil\ndates:\n- {date: 2027-12-25, name: Natal}\n- {date: 2027-01-01}\n")
    assert f"{ACME}/br-2027 is stored" in regente("calendar", "put", str(days)).stdout
    assert "br-2027" in regente("calendar", "list").stdout
    shown = regente("calendar", "show", "br-2027").stdout
    copied = regente("calendar", "put", "-", "--name", "copy", text=shown)
    assert "copy is stored" in copied.stdout
    both = [read_json(regente("calendar", "show", name, "--json")) for name in ("br-2027", f"{ACME}/copy")]
    assert both[0]["dates"] == both[1]["dates"]
    site = tmp_path / "office.json"
    away = [{"start": "2027-01-31T22:00:00-03:00", "end": "2027-02-01T02:00:00-03:00", "reason": "release"}]
    site.write_text(json.dumps({"title": "Tax office", "maintenance": away}))
    assert read_json(regente("portal", "put", str(site), "--json"))["maintenance"][0]["start"] == "2027-02-01T01:00:00Z"
    assert "Tax office" in regente("portal", "list").stdout
    for kind, name in (("calendar", "br-2027"), ("calendar", "copy"), ("portal", "office")):
        regente(kind, "remove", name)
        assert "does not exist" in regente(kind, "show", name, code=1).stderr
    site.write_text('{"maintenance": [{"start": "tomorrow", "end": "later"}]}')
    assert "maintenance.0.start" in regente("portal", "put", str(site), code=1).stderr
    regente("calendar", "put", "-", text="dates: []", code=2)


def test_account_settings_and_events(regente: Any, console: Site) -> None:
    assert ACME in regente("account", "list").stdout
    changed = read_json(regente("account", "settings", ACME, "--set", "-", "--json", text="runs: 12\nweight: 3\n"))
    assert (changed["runs"], changed["weight"]) == (12, 3)
    assert "runs: 12" in regente("account", "settings", ACME).stdout
    assert "does not exist" in regente("account", "settings", "none", code=1).stderr
    target = f"{ACME}/cli-events"
    put_event(console, ACME, target=target, severity="error", kind="workflow_held", text="5 failures in a row")
    put_event(console, ACME, target=target, severity="info", kind="workflow_released", text="otto released it")
    shown = regente("events", "--target", target).stdout
    assert shown.index("otto released it") < shown.index("5 failures in a row")
    only = read_json(regente("events", "--target", target, "--severity", "error", "--json"))
    assert [one["text"] for one in only] == ["5 failures in a row"]


def test_runs_tasks_and_workflows_are_stopped_and_aborted(regente: Any, console: Site, flow: str) -> None:
    task = put_task(console, state="running", held_by={"run": "run_x", "attempt": 1, "epoch": 1})
    run = put_run(console, task, "0a0000000041", state="executing")
    with answer_commands(console) as commands:
        assert regente("run", "stop", run, "--reason", "enough").stdout == "done\n"
        assert read_json(regente("run", "abort", run, "--json"))["state"] == "done"
        regente("task", "abort", task)
        regente("workflow", "hold", flow, "--mode", "abort")
    assert [(one["kind"], one["args"]) for one in commands] == [
        ("run.stop", {"reason": "enough"}),
        ("run.abort", {"reason": ""}),
        ("task.cancel", {"now": True}),
        ("workflow.hold", {"text": "", "mode": "abort"}),
    ]
    regente("workflow", "hold", flow, "--mode", "later", code=2)
    regente("run", "abort", put_run(console, task, "0a0000000041"), code=1)
