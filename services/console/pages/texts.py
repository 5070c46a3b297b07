"""Words for states, in the page's language. Called by: every page. Change also: locale/*/console.po."""

from __future__ import annotations

from collections.abc import Callable

from services.console.pages.markup import Html, badge


def words(_: Callable[[str], str]) -> dict[str, str]:
    """States and outcomes, as people call them."""
    return {
        "queued": _("queued"),
        "running": _("running"),
        "held": _("held"),
        "succeeded": _("succeeded"),
        "failed": _("failed"),
        "cancelled": _("cancelled"),
        "expired": _("expired"),
        "opened": _("opened"),
        "setup": _("setup"),
        "executing": _("executing"),
        "waiting": _("waiting"),
        "teardown": _("teardown"),
        "finished": _("finished"),
        "aborted": _("aborted"),
        "pending": _("pending"),
        "authorised": _("authorised"),
        "revoked": _("revoked"),
        "reserved": _("reserved"),
        "paused": _("paused"),
        "stopped": _("stopped"),
        "ended": _("ended"),
        "returned": _("returned"),
        "done": _("done"),
        "error": _("error"),
        "in_doubt": _("in doubt"),
        "refused": _("refused"),
        "run": _("run"),
        "pause": _("pause"),
        "stop": _("stop"),
        "abort": _("abort"),
        "connected": _("connected"),
        "disconnected": _("disconnected"),
        "ready": _("ready"),
        "not_ready": _("not ready"),
        "task": _("task"),
        "phase": _("phase"),
        "outcome": _("outcome"),
        "takeover": _("takeover"),
        "end": _("end"),
        "delivered": _("delivered"),
        "retrying": _("retrying"),
        "dead": _("dead"),
        "open": _("open"),
        "closed": _("closed"),
        "answered": _("answered"),
        "decision": _("question"),
        "test": _("test"),
        "withdrawn": _("withdrawn"),
        "unpublished": _("unpublished"),
        "limit": _("limit reached"),
        "runs": _("enough runs"),
        "quarantine": _("quarantine"),
        "warm": _("warm"),
        "drain": _("being drained"),
        "exclusive": _("exclusive"),
        "schedule": _("by schedule"),
        "mode": _("by mode"),
        "info": _("info"),
        "warning": _("warning"),
        "critical": _("critical"),
        "firing": _("firing"),
        "resolved": _("over"),
        "gathering": _("being gathered"),
        "sent": _("sent"),
        "on": _("on"),
        "off": _("off"),
    }


def state(_: Callable[[str], str], word: str | None) -> Html:
    """A state as a coloured badge in the page's language."""
    return badge(word, words(_).get(word or "", word))


def priority_name(_: Callable[[str], str], level: int | None) -> str:
    """A priority, as people call it."""
    if level is None:
        return ""
    names = [_("low"), _("normal"), _("high"), _("very high"), _("urgent"), _("maximum")]
    return f"{level} {names[level]}" if 0 <= level < len(names) else str(level)
