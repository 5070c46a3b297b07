"""What messages say, in the words of a language: subject, text, HTML, the line of a short message, the whole list.

Called by: channels/, digest.py. Everything that comes from outside (names, texts of alerts) is escaped where it is put
into markup. Nothing survives. Change also: locale/*/alerts.po (a test holds it against the texts here).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from services.alerts.core.bundles import Entry
from services.alerts.core.judging import duration
from services.alerts.core.telling import What
from services.alerts.notify.message import Message
from shared.domain.alert_rules import DEFAULTS, AlertSeverity
from shared.texts import catalogue

LISTED_MAX = 50
"""Alerts that a mail names one by one; the attached list has all of them."""
SMS_LENGTH_MAX = 300
SMS_SAID_MIN = 80
"""A link that leaves less room than this is left out."""
SUBJECT_LENGTH_MAX = 200
_LOCALE = Path(__file__).parent / "locale"
TITLES = tuple(rule.title for rule in DEFAULTS)
"""Titles of the default rules: texts to be translated, too."""
COLOURS = {
    AlertSeverity.INFO: "#2563eb", AlertSeverity.WARNING: "#b45309", AlertSeverity.ERROR: "#b91c1c",
    AlertSeverity.CRITICAL: "#7f1d1d",
}  # fmt: skip
OVER_COLOUR = "#15803d"
COLUMNS = (
    "alert", "state", "severity", "account", "rule", "target", "text", "since", "resolved_at", "events",
    "acknowledged_by",
)  # fmt: skip
Translate = Callable[[str], str]


def translate(language: str) -> Translate:
    """The function `_` of a language."""
    return catalogue(_LOCALE / language / "alerts.po").gettext


def severity_word(severity: AlertSeverity, _: Translate) -> str:
    """A severity in words."""
    words = {
        AlertSeverity.INFO: _("info"),
        AlertSeverity.WARNING: _("warning"),
        AlertSeverity.ERROR: _("error"),
        AlertSeverity.CRITICAL: _("critical"),
    }
    return words[severity]


def title(one: Entry, _: Translate) -> str:
    """What an alert is called."""
    return _(one.title)


def _filled(text: str, **values: object) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def subject(message: Message) -> str:
    """The subject, or first line: how bad, what, how many."""
    _, found = translate(message.language), message.contents
    firing, over = found.firing, found.over
    if found.only_test:
        said = _("Test message")
    elif len(found.entries) == 1:
        one = found.entries[0]
        said = f"[{_('over') if one.over else severity_word(one.severity, _)}] {title(one, _)}: {one.target}"
    elif not firing:
        said = _filled(_("[over] {count} alerts are over"), count=len(over))
    else:
        rules = [entries[0] for _rule, entries in found.by_rule() if not entries[0].over]
        what = title(rules[0], _) if len(rules) == 1 else _filled(_("{count} kinds"), count=len(rules))
        many = _filled(_("{count} alerts"), count=len(firing))
        said = f"[{severity_word(found.worst, _)}] {many}: {what}"
        said += _filled(_(", {count} over"), count=len(over)) if over else ""
    if message.maybe_repeat:
        said = f"{_('[maybe a repeat]')} {said}"
    return " ".join("".join(char if char.isprintable() else " " for char in said).split())[:SUBJECT_LENGTH_MAX]


def summary(message: Message) -> list[str]:
    """What is said before the list: a mark of a repeat, and what all of it counts."""
    _, found = translate(message.language), message.contents
    lines = []
    if message.maybe_repeat:
        lines.append(_("This message may have been sent before: the sender does not know whether it arrived."))
    if not found.only_test:
        lines.append(
            _filled(
                _("{firing} alerts are firing, {over} are over; together they stand for {events} events."),
                firing=len(found.firing), over=len(found.over), events=found.events,
            )
        )  # fmt: skip
    return lines


def line(one: Entry, message: Message) -> str:
    """One alert in one line."""
    _ = translate(message.language)
    parts = [f"{title(one, _)}: {one.text}"]
    parts.append(_filled(_("since {moment}"), moment=local(one.since, message)))
    if one.over and one.resolved_at:
        length = duration(one.resolved_at - one.since)
        parts.append(
            _filled(_("over at {moment}, after {length}"), moment=local(one.resolved_at, message), length=length)
        )
    if one.count > 1:
        parts.append(_filled(_("{count} events"), count=one.count))
    if one.what is What.REPEAT:
        parts.append(_("still so"))
    if one.acked:
        parts.append(_filled(_("{who} takes care of it"), who=one.acked))
    return ", ".join(parts)


def local(at: datetime, message: Message) -> str:
    """A moment by the recipient's clock."""
    return at.astimezone(message.zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def listed(message: Message) -> list[tuple[str, list[Entry]]]:
    """Alerts that are named one by one, by rule: of each rule some, so that none is crowded out."""
    rules = message.contents.by_rule()
    each = max(LISTED_MAX // max(len(rules), 1), 1)
    return [(rule, entries[:each]) for rule, entries in rules[:LISTED_MAX]]


def left_out(message: Message) -> int:
    """How many are not named one by one."""
    return len(message.contents.entries) - sum(len(entries) for _, entries in listed(message))


def text(message: Message) -> str:
    """The text of a mail."""
    _ = translate(message.language)
    lines = [*summary(message), ""]
    for rule, entries in listed(message):
        every = dict(message.contents.by_rule())[rule]
        lines.append(f"== {title(entries[0], _)} ({len(every)}) ==")
        for one in entries:
            mark = _("over") if one.over else severity_word(one.severity, _)
            lines.append(f"- [{mark}] {line(one, message)}")
            lines += [f"  {link}" for link in links(one, message)]
        if len(every) > len(entries):
            lines.append(_filled(_("- and {count} more, in the whole list"), count=len(every) - len(entries)))
        runbook = message.links.runbook.replace("{kind}", entries[0].kind)
        lines += [f"  {_('What to do:')} {runbook}"] if runbook and entries[0].what is not What.TEST else []
        lines.append("")
    if takes(message):
        lines += [f"{_('Say that you look at it:')} {message.links.take}", ""]
    if message.links.digest:
        lines += [f"{_('The whole list:')} {message.links.digest}", ""]
    return "\n".join([*lines, _("This message was sent automatically.")]) + "\n"


def links(one: Entry, message: Message) -> list[str]:
    """Where the console shows the alert (once it is stored), and what it is about."""
    console = message.links.console
    if not console or one.what is What.TEST:
        return []
    kind, _, id = one.target.partition("/")
    pages = {"task": "tasks", "run": "runs", "decision": "decisions"}
    found = [f"{console}/alerts/{one.alert}"] if message.links.digest else []
    return found + ([f"{console}/{pages[kind]}/{id}"] if kind in pages else [])


def takes(message: Message) -> bool:
    """Whether there is something that people can say they look at."""
    return bool(message.links.take and message.contents.firing and not message.contents.only_test)


def html(message: Message) -> str:
    """The HTML of a mail; styles stand at each element, because mail programs take no others."""
    _ = translate(message.language)
    colour = COLOURS[message.contents.worst] if message.contents.firing else OVER_COLOUR
    parts = [
        f'<!DOCTYPE html><html lang="{message.language.replace("_", "-")}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
        '<body style="margin:0;background:#f3f4f6;font-family:Arial,Helvetica,sans-serif;color:#111827">'
        '<div style="max-width:640px;margin:0 auto;background:#ffffff">'
        f'<div style="background:{colour};color:#ffffff;padding:16px;font-size:18px">{escape(subject(message))}</div>'
        '<div style="padding:16px;font-size:14px;line-height:1.45">'
    ]
    parts += [f"<p>{escape(one)}</p>" for one in summary(message)]
    parts += [_section(rule, entries, message, _) for rule, entries in listed(message)]
    for picture in message.pictures:
        parts.append(
            f'<p style="color:#4b5563">{escape(_("The screen when it failed:"))}</p>'
            f'<img src="cid:{picture.id}" alt="" style="max-width:100%;border:1px solid #d1d5db">'
        )
    if takes(message):
        address = escape(message.links.take, quote=True)
        style = "display:inline-block;background:#0f766e;color:#ffffff;padding:10px 16px;text-decoration:none"
        parts.append(f'<p><a href="{address}" style="{style}">{escape(_("I look at it"))}</a></p>')
    if message.links.digest:
        address = escape(message.links.digest, quote=True)
        parts.append(f'<p><a href="{address}">{escape(_("The whole list"))}</a></p>')
    parts.append(f'<p style="color:#6b7280">{escape(_("This message was sent automatically."))}</p></div></div>')
    return "".join([*parts, "</body></html>\n"])


def _section(rule: str, entries: Sequence[Entry], message: Message, _: Translate) -> str:
    every = dict(message.contents.by_rule())[rule]
    rows = []
    for one in entries:
        colour = OVER_COLOUR if one.over else COLOURS[one.severity]
        mark = _("over") if one.over else severity_word(one.severity, _)
        said = escape(line(one, message))
        found = links(one, message)
        if found:
            said = f'<a href="{escape(found[0], quote=True)}" style="color:#111827">{said}</a>'
            for more_of_it in found[1:]:
                path = escape(more_of_it.removeprefix(message.links.console))
                said += f'<br><a href="{escape(more_of_it, quote=True)}" style="color:#4b5563">{path}</a>'
        rows.append(
            f'<tr><td style="vertical-align:top;padding:4px 8px 4px 0;color:{colour};white-space:nowrap">'
            f'<b>{escape(mark)}</b></td><td style="padding:4px 0;word-break:break-word">{said}</td></tr>'
        )
    if len(every) > len(entries):
        more = _filled(_("- and {count} more, in the whole list"), count=len(every) - len(entries))
        rows.append(f'<tr><td></td><td style="padding:4px 0;color:#4b5563">{escape(more)}</td></tr>')
    head = f'<h3 style="margin:16px 0 4px;font-size:15px">{escape(title(entries[0], _))} ({len(every)})</h3>'
    table = f'<table style="border-collapse:collapse;width:100%;font-size:14px">{"".join(rows)}</table>'
    runbook = message.links.runbook.replace("{kind}", entries[0].kind)
    if not runbook or entries[0].what is What.TEST:
        return head + table
    where = escape(runbook, quote=True)
    shown = f'<a href="{where}">{where}</a>' if runbook.startswith(("http://", "https://")) else where
    return f'{head}{table}<p style="margin:4px 0;color:#4b5563">{escape(_("What to do:"))} {shown}</p>'


def short(message: Message) -> str:
    """A short message: the subject, and where the list is."""
    said = subject(message)
    if len(message.contents.entries) == 1 and not message.contents.only_test:
        said = f"{said} - {message.contents.entries[0].text}"
    link = message.links.digest
    room = SMS_LENGTH_MAX - len(link) - 1
    return f"{said[:room]} {link}" if link and room >= SMS_SAID_MIN else said[:SMS_LENGTH_MAX]


def listing(message: Message) -> bytes:
    """Every alert of the message as CSV, which spreadsheets open; a cell never begins as a formula does."""
    sheet = io.StringIO()
    rows = csv.writer(sheet)
    rows.writerow(COLUMNS)
    for one in message.contents.entries:
        cells = [
            one.alert, "over" if one.over else "firing", one.severity.value, one.account or "", one.rule, one.target,
            one.text, one.since.isoformat(), one.resolved_at.isoformat() if one.resolved_at else "", one.count,
            one.acked or "",
        ]  # fmt: skip
        rows.writerow([_plain(cell) for cell in cells])
    return sheet.getvalue().encode("utf-8-sig")


def _plain(cell: object) -> str:
    text = str(cell)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def digest_page(message: Message) -> str:
    """The whole list as a page."""
    _ = translate(message.language)
    rows = []
    for one in message.contents.entries:
        mark = _("over") if one.over else severity_word(one.severity, _)
        cells = (mark, one.account or "", title(one, _), one.target, line(one, message))
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    said = "".join(f"<p>{escape(one)}</p>" for one in summary(message))
    return (
        f'<!DOCTYPE html><html lang="{message.language.replace("_", "-")}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(subject(message))}</title><style>body{{font-family:Arial,sans-serif;margin:16px}}"
        "td{padding:4px 8px;border-bottom:1px solid #e5e7eb;vertical-align:top;word-break:break-word}"
        "table{border-collapse:collapse}</style></head>"
        f"<body><h1>{escape(subject(message))}</h1>{said}<table>{''.join(rows)}</table></body></html>\n"
    )
