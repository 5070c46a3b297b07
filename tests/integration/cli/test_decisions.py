"""`regente decision`: what scripts ask people, answered from a terminal."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.console.site import ACME, Site, answer_decisions, decision_token, put_decision


def test_decisions_are_listed_answered_and_linked(regente: Any, console: Site) -> None:
    id = put_decision(console, workflow="cli-asks", question="Pay?", options=["pay", "wait"])
    put_decision(console, workflow="cli-asks", state="withdrawn")
    shown = regente("decision", "list", "--workflow", "cli-asks").stdout
    assert id in shown
    assert "pay | wait" in shown
    listed = json.loads(regente("decision", "list", "-w", "cli-asks", "--state", "all", "--json").stdout)
    assert sorted(one["state"] for one in listed) == ["open", "withdrawn"]
    with answer_decisions(console) as requests:
        assert "one of: pay, wait" in regente("decision", "answer", id, "perhaps", code=1).stderr
        assert regente("decision", "answer", id, "pay").stdout == "done\n"
        assert "answered already" in regente("decision", "answer", id, "pay", code=1).stderr
    assert [(one["target"], one["args"], one["by"]) for one in requests] == [(id, {"answer": "pay"}, "admin")]
    found = json.loads(regente("decision", "show", id.replace("/", "."), "--json").stdout)
    assert (found["id"], found["account"], found["answer"], found["by"]) == (id, ACME, "pay", "admin")
    assert "answered" in regente("decision", "show", id).stdout
    url = regente("decision", "link", id).stdout.strip()
    assert url.endswith(f"/d/{id.replace('/', '.')}?t={decision_token(id)}")
    assert json.loads(regente("decision", "link", id, "--json").stdout) == {"url": url}
    regente("decision", "show", "run_none/00000001", code=1)
