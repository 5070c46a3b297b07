"""A script that uses what the server does: its types, its calls, the values that come back."""

from __future__ import annotations

from typing import Any

import pytest

from services.executor.core.calls import CodeCall, SecretCall, ServerCall, read_call
from services.executor.interpreter import Interpreter, Limits, Returned, Stopped
from shared.script import check_workflow
from shared.script.modules import secret_handle, totp_handle

SCRIPT = """
from robot import browser
from regente import http, job, mail, objects, secrets

def execute(task: dict[str, str]) -> dict[str, str]:
    key = secrets.get("erp/key")
    found = http.request("GET", "https://api.example/rates", params={"day": task["day"], "n": 3}, auth=key)
    rate = found["json"]["rate"] if found["status"] == 200 else None
    plain: dict[str, str] = {"Accept": "application/json"}
    http.request("POST", "https://erp.example/orders", json={"rate": rate}, headers={"X-Key": key}, commit=True)
    http.request("POST", "https://erp.example/orders", text="x", headers=plain, follow=2, timeout=5)
    due = job.run("tax-due", [task["day"]], text=found["text"])
    code: int = due["exit_code"]
    browser.fill(objects.code, secrets.totp("portal/otp"))
    sent = mail.send("ann@acme.example", "Done", due["stdout"], html="<p>x</p>", attachments=["ab"], commit=True)
    mail.send(["ann@acme.example"], "Done", "text")
    return {"mail": sent["message_id"], "code": str(code)}
"""
FILES = {
    "workflow.yaml": "name: rates\ntitle: Rates\ninput: {type: object, properties: {day: {type: string}}}\n"
    "scenarios:\n  - {name: main, script: rates.py}\n",
    "objects.yaml": 'code: {selectors: ["css=#code"]}\n',
    "rates.py": SCRIPT,
}


async def test_it_is_checked_when_it_is_published() -> None:
    assert (await check_workflow(FILES)).errors == ()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('found["status"]', 'found["statsu"]'),
        ("follow=2", "folow=2"),
        ('["ann@acme.example"], "Done", "text"', '["ann@acme.example"], "Done"'),
        ("secrets.totp(", "secrets.totpp("),
        ('"tax-due", [task["day"]]', '"tax-due", task["day"]'),
        ("http, job", "http, jobs, job"),
        ("auth=key", 'auth="in clear"'),
    ],
)
async def test_a_slip_is_found_when_it_is_published(good: str, bad: str) -> None:
    assert good in SCRIPT
    checked = await check_workflow({**FILES, "rates.py": SCRIPT.replace(good, bad, 1)})
    assert checked.errors


async def test_its_calls_arrive_by_name_and_their_values_go_back() -> None:
    answers: dict[str, Any] = {
        "http.request": {"status": 200, "headers": {}, "text": "t", "json": {"rate": 1.5}, "url": "u"},
        "job.run": {"exit_code": 0, "stdout": "due", "stderr": ""},
        "mail.send": {"message_id": "<run_1.7@x>"},
    }
    seen = []
    async with (
        Interpreter(processes_max=1, limits=Limits()) as interpreter,
        interpreter.session(script="rates.py", source=SCRIPT, objects=["code"], seed=1) as session,
    ):
        assert await session.load_source() is None
        turn = await session.call("execute", "task", {"day": "monday"})
        while isinstance(turn, Stopped):
            call = read_call(turn.function, turn.args, turn.kwargs, is_os=turn.is_os, instruction_s=0)
            if isinstance(call, SecretCall):
                turn = await session.resume(secret_handle(call.name))
            elif isinstance(call, CodeCall):
                turn = await session.resume(totp_handle(call.name))
            elif isinstance(call, ServerCall):
                seen.append((call.instruction.name, call.effect, call.commit, call.args))
                turn = await session.resume(answers[call.instruction.name])
            else:
                assert call.args["text"] == {"$totp": "portal/otp"}  # type: ignore[union-attr]
                turn = await session.resume(None)
    assert turn == Returned({"mail": "<run_1.7@x>", "code": "0"})
    assert [one[:3] for one in seen] == [
        ("http.request", "read", False),
        ("http.request", "act", True),
        ("http.request", "act", False),
        ("job.run", "act", False),
        ("mail.send", "act", True),
        ("mail.send", "act", False),
    ]
    assert seen[0][3]["auth"] == {"$secret": "erp/key"}
    assert seen[1][3]["json"] == {"rate": 1.5}
