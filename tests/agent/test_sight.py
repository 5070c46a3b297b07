"""Selectors on a real page: which matched, which is meant, what was tried; and what is told of a page that hangs."""

from __future__ import annotations

import time

import pytest

from shared.contracts.messages.worker_reply import FailureContext, ReplyOutcome, SessionState, WorkerReply
from tests.agent.bench import Bench
from tests.agent.test_browser import Script, Site, code, site, size_of

__all__ = ["site"]

SECOND = (
    "data:text/html,<title>Two of them</title><button>Pay</button><button id=second>Pay</button>"
    "<p hidden id=hidden>x</p>"
)
BUSY = (
    "<title>Busy</title><h1>Hello</h1><input id=word><button id=go onclick='setTimeout(()=>{while(true){}},50)'>go"
    "</button>"
)


def context_of(reply: WorkerReply) -> FailureContext:
    assert reply.context is not None
    return reply.context


@pytest.fixture
def do(robot: Bench, site: Site) -> Script:
    """A script on the page of the site."""
    script = Script(robot)
    script("browser.open", url=site.url)
    return script


def test_the_reply_says_which_selector_matched(do: Script) -> None:
    assert do("browser.text", "css=#title").matched == 0
    began = time.monotonic()
    assert do("browser.text", "css=#nowhere", "testid=neither", "text=Hello", timeout=8).matched == 2
    assert time.monotonic() - began < 6, "a selector that does not match takes no time from the next"
    assert do("browser.exists", "css=#nowhere", timeout=0.1).matched is None
    assert do("browser.url").matched is None
    covered = do("browser.click", "css=#nowhere", "css=#covered", timeout=0.5)
    assert (code(covered), covered.matched) == ("TIMEOUT", 1), "it was found, and then could not be clicked"


def test_what_was_tried_is_said_when_nothing_matched(do: Script) -> None:
    do("browser.open", url=SECOND)
    reply = do("browser.click", "css=#nowhere", "css=#hidden", timeout=0.3)
    assert code(reply) == "TIMEOUT"
    assert reply.error is not None
    assert "tried css=#nowhere (not there); css=#hidden (1 there, not visible)" in reply.error.message


def test_of_several_the_first_is_taken_but_never_for_an_act_that_cant_be_taken_back(do: Script) -> None:
    do("browser.open", url=SECOND)
    assert do("browser.click", "text=Pay").matched == 0
    do.robot.until(
        lambda: any("text=Pay shows 2 visible elements" in line.event for line in do.robot.lines), "the warning"
    )
    refused = do("browser.click", "text=Pay", commit=True, timeout=0.3)
    assert (refused.outcome, code(refused), refused.desktop) == (ReplyOutcome.ERROR, "TIMEOUT", SessionState.KEPT)
    assert refused.error is not None
    assert "text=Pay (2 visible ones: which is meant?)" in refused.error.message
    assert do("browser.click", "text=Pay", "css=#second", commit=True).matched == 1


def test_a_failure_tells_pages_and_dialogs_and_nothing_that_was_typed(do: Script, site: Site) -> None:
    secret = "päss word/9"
    do("browser.fill", "css=#name", text=secret)
    page = "<title>For päss word/9</title><script>setTimeout(()=>confirm('is päss word/9 right?'), 10)</script>"
    do("browser.open", url=f"data:text/html;charset=utf-8,{page}")
    do("browser.open", url=f"{site.url}/?token=abc123&id=7;x=1#part")
    missing = do("browser.click", "css=#nowhere", timeout=0.3)
    seen = context_of(missing)
    (active,) = [one for one in seen.pages if one.active]
    assert (active.url, active.title) == (f"{site.url}/?token=***&id=***&x=***", "Bench")
    assert [(one.type, one.message, one.answer) for one in seen.dialogs] == [("confirm", "is *** right?", "dismissed")]
    do("browser.open", url=f"data:text/html;charset=utf-8,{page}")
    (active,) = [one for one in context_of(do("browser.click", "css=#nowhere", timeout=0.3)).pages if one.active]
    assert active.title == "For ***"
    assert not any(secret.encode() in raw or b"abc123" in raw for raw in do.robot.raw_replies)
    assert do("browser.text", "css=#nowhere", timeout=0.1).evidence[0].name == "failure"


def test_a_page_that_hangs_is_a_clean_error_in_time(do: Script) -> None:
    do("browser.open", url=f"data:text/html,{BUSY}")
    assert do("browser.click", "css=#go").outcome is ReplyOutcome.DONE
    time.sleep(0.3)
    began = time.monotonic()
    reply = do("browser.text", "css=h1", timeout=2)
    assert time.monotonic() - began < 8
    assert (reply.outcome, code(reply), reply.desktop) == (ReplyOutcome.ERROR, "TIMEOUT", SessionState.KEPT)
    assert reply.error is not None
    assert "the page does not answer" in reply.error.message
    assert [(one.title, one.active) for one in context_of(reply).pages] == [("Busy", True)]
    assert any("no picture" in note for note in context_of(reply).notes)


def test_a_cut_instruction_tells_what_was_open_and_shows_it(do: Script) -> None:
    do("browser.open", url=f"data:text/html,{BUSY}")
    do("browser.click", "css=#go")
    time.sleep(0.3)
    cut = do("browser.press", keys="Enter", timeout_s=1.0)
    assert (cut.outcome, code(cut), cut.desktop) == (ReplyOutcome.IN_DOUBT, "TIMEOUT", SessionState.LOST)
    assert [(one.title, one.active) for one in context_of(cut).pages] == [("Busy", True)]
    assert [one.name for one in cut.evidence] == ["failure"]
    assert size_of(cut.evidence[0]) == (1280, 800)
    again = do.robot.answer(do.robot.instruction(do.seq, "browser.press", keys="Enter", timeout_s=1.0))
    assert (again.repeated, again.context, again.evidence) == (True, cut.context, cut.evidence)
