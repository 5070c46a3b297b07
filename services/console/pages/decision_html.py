"""The page behind a decision's link, as text: one self-contained document for a phone, that works without JavaScript.

Called by: decision_link.py, alert_link.py (the frame, `link_page`). Owns: static/decision.css and decision.js, which
stand inside the page (allowed by their hashes and nothing else), so the page asks for nothing but its picture. Change
also: locale/*/console.po.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.console.pages.language import LANGUAGES, translate
from services.console.pages.markup import Html, tag
from shared.domain.decision import ANSWER_LENGTH_MAX, LINK, DecisionState

_STATIC = Path(__file__).parent / "static"
CSS = (_STATIC / "decision.css").read_text(encoding="utf-8")
SCRIPT = (_STATIC / "decision.js").read_text(encoding="utf-8")
MARK = (_STATIC / "regente.svg").read_text(encoding="utf-8")
AGAIN_S = 3
"""How soon the page looks again while an answer is on its way."""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; img-src 'self'; style-src {_hash(CSS)}; script-src {_hash(SCRIPT)}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a browser may do on this page (Content-Security-Policy)."""


@dataclass(frozen=True)
class Asked:
    """What the page is drawn for."""

    language: str
    token: str = ""
    path: str = ""
    """Of the decision's page; empty where there is none to come back to."""

    @property
    def text(self) -> Callable[[str], str]:
        """The function that translates: `_`."""
        return translate(self.language)

    def address(self, path: str = "", **more: str) -> str:
        """This page (or one below it) with its token and language."""
        return f"{self.path}{path}?{urlencode({'t': self.token, 'lang': self.language, **more})}"


def decision_page(asked: Asked, decision: Mapping[str, Any], now: datetime, complaint: str = "") -> str:
    """The question with its form while it is open, else what became of it."""
    open_ = decision["state"] == DecisionState.OPEN and not _late(decision, now)
    body = [
        tag("p", f"{decision['account']} / {decision['workflow']}", class_="from"),
        tag("h1", decision["question"], id="question"),
        tag("p", complaint, class_="said bad", role="alert") if complaint else None,
        _picture(asked, decision),
        [_due(asked, decision), _form(asked, decision)] if open_ else _closed(asked, decision),
    ]
    return link_page(asked, str(decision["question"]), *body)


def on_its_way_page(asked: Asked, decision: Mapping[str, Any], answer: str) -> str:
    """The answer is stored, and the executor has not taken it yet; the page looks again by itself."""
    _ = asked.text
    said = tag("p", tag("strong", _("Your answer was received.")), _("It is being passed on."), class_="said good")
    body = [tag("h1", decision["question"]), tag("div", said, role="status"), _facts([(_("Answer"), answer)])]
    return link_page(asked, str(decision["question"]), *body, again_s=AGAIN_S)


def thanks_page(asked: Asked, decision: Mapping[str, Any]) -> str:
    """To whom has just answered."""
    _ = asked.text
    said = tag("p", tag("strong", _("Thank you.")), _("Your answer was taken; the work goes on."), class_="said good")
    facts = _facts([(_("Answer"), decision["answer"]), (_("When"), _time(asked, decision, decision["at"]))])
    return link_page(asked, _("Thank you."), tag("h1", decision["question"]), tag("div", said, role="status"), facts)


def message_page(asked: Asked, title: str, text: str) -> str:
    """Something else than a decision: no such page, too many requests."""
    return link_page(asked, title, tag("h1", title), tag("p", text))


def _late(decision: Mapping[str, Any], now: datetime) -> bool:
    due_at = decision.get("due_at")
    return due_at is not None and due_at <= now


def _picture(asked: Asked, decision: Mapping[str, Any]) -> Html | None:
    _ = asked.text
    if not decision.get("image"):
        return None
    source = asked.address("/image")
    picture = tag("img", src=source, alt=_("Picture that goes with the question"))
    return tag("figure", tag("a", picture, href=source, target="_blank", rel="noreferrer"))


def _due(asked: Asked, decision: Mapping[str, Any]) -> Html | None:
    _ = asked.text
    if decision.get("due_at") is None:
        return None
    default = decision.get("default")
    otherwise = [" ", _("Without an answer this is taken:"), " ", tag("b", default)] if default else None
    return tag("p", _("Answer until"), " ", _time(asked, decision, decision["due_at"]), ".", otherwise, class_="due")


def _form(asked: Asked, decision: Mapping[str, Any]) -> Html:
    _ = asked.text
    options = decision.get("options") or []
    if options:
        buttons = [tag("button", one, type="submit", name="answer", value=one) for one in options]
        field = tag("fieldset", tag("legend", _("Your answer")), tag("div", buttons, class_="options"))
    else:
        box = tag("textarea", name="answer", id="answer", required=True, maxlength=ANSWER_LENGTH_MAX)
        field = Html(tag("label", _("Your answer"), for_="answer") + box)
        field = Html(field + tag("button", _("Send"), type="submit", class_="main"))
    hidden = [tag("input", type="hidden", name="t", value=asked.token)]
    hidden += [tag("input", type="hidden", name="lang", value=asked.language)]
    return tag("form", hidden, field, method="post", action=asked.path)


def _closed(asked: Asked, decision: Mapping[str, Any]) -> Html:
    """What became of it: answered, expired or withdrawn, by whom and when."""
    _ = asked.text
    told = {
        DecisionState.ANSWERED.value: _("This was answered."),
        DecisionState.EXPIRED.value: _("Time is up: nobody answered until the deadline."),
        DecisionState.OPEN.value: _("Time is up: nobody answered until the deadline."),
        DecisionState.WITHDRAWN.value: _("The question was withdrawn: the work that asked it has ended."),
    }
    by = decision.get("by")
    rows = [
        (_("Answer"), decision.get("answer")),
        (_("By"), _("somebody with the link") if by == LINK else by),
        (_("When"), _time(asked, decision, decision.get("at") or decision.get("due_at"))),
    ]
    good = "good" if decision["state"] == DecisionState.ANSWERED else ""
    said = tag("p", told[decision["state"]], class_=f"said {good}".strip(), role="status")
    return Html(said + _facts(rows))


def _facts(rows: list[tuple[str, Any]]) -> Html:
    shown = [(name, value) for name, value in rows if value]
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in shown])


def _time(asked: Asked, decision: Mapping[str, Any], at: datetime | None) -> Html | None:
    """A moment: in the reader's zone where scripts run, else in the workflow's, which is then named."""
    if at is None:
        return None
    zone = str(decision.get("zone") or "UTC")
    try:
        local = at.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zone, local = "UTC", at.astimezone(UTC)
    written = local.strftime("%d/%m/%Y %H:%M" if asked.language == "pt_BR" else "%Y-%m-%d %H:%M")
    exact = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return tag("time", f"{written} ({zone})", datetime=exact)


def link_page(asked: Asked, title: str, *body: Any, again_s: int | None = None, foot: str | None = None) -> str:
    """A page behind a link. again_s: it looks again by itself. foot: what stands below; none: what answers need."""
    _ = asked.text
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
        tag("meta", http_equiv="refresh", content=again_s) if again_s else None,
        tag("title", f"{title[:80]} · Regente"),
        tag("style", Html(CSS)),
    )
    header = tag("header", tag("span", Html(MARK), "Regente", class_="brand"), _languages(asked))
    main = tag("main", tag("article", *body))
    footer = tag("footer", foot or _("Only answer what was meant for you. Who has this link can answer."))
    page = tag("body", header, main, footer if asked.path else None, tag("script", Html(SCRIPT)))
    return f"<!doctype html>{tag('html', head, page, lang=asked.language.replace('_', '-'))}"


def _languages(asked: Asked) -> Html | None:
    """The switch; each language names itself."""
    _ = asked.text
    if not asked.path:
        return None
    short = {"en": "EN", "pt_BR": "PT"}
    parts = [
        tag("span", short[code], aria_current="true", title=name, lang=code.replace("_", "-"))
        if code == asked.language
        else tag("a", short[code], href=asked.address(lang=code), title=name, lang=code.replace("_", "-"))
        for code, name in LANGUAGES.items()
    ]
    return tag("nav", parts, aria_label=_("Language"))


__all__ = ["POLICY", "Asked", "decision_page", "link_page", "message_page", "on_its_way_page", "thanks_page"]
