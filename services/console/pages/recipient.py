"""One recipient's form: new, or `?recipient=<account>/<name>`. A webhook's secret that is made is shown once.

Called by: pages/__init__.py. What fits is said by the store (shared/domain/recipients.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from services.console.core.access import ALL_ACCOUNTS, Role
from services.console.pages.alerting import RECIPIENTS, draw_tabs, severities
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.language import LANGUAGES
from services.console.pages.markup import tag
from services.console.pages.visit import Visit, act
from services.console.store.context import Context
from services.console.store.listing import account_names
from services.console.store.recipients import fields_of, get_recipient, put_recipient
from shared.domain.recipients import CHANNELS_MAX, ID_PATTERN, ChannelKind, Rate, Recipient
from shared.errors import ErrorCode, PermanentError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
PATTERNS = ("rules", "targets")


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, f"{RECIPIENTS}/edit", ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    id = visit.query.get("recipient", "")
    account, __, name = id.partition("/")
    heading(_("Recipient"), tag("small", id or _("new")))
    draw_tabs(visit, "")
    before: dict[str, Any] = {}
    try:
        if id:
            before = await get_recipient(visit.context, visit.viewer, account, name)
    except PermanentError as error:
        ui.label(str(error)).classes("empty")
        return
    accounts = await account_names(visit.context) if visit.viewer.everywhere else list(visit.viewer.accounts)
    RecipientForm(visit, id, before, accounts).draw()


def day_names(visit: Visit) -> dict[str, str]:
    """Days of the week, as people call them."""
    _ = visit.text
    names = (_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun"), _("holidays"))
    return dict(zip(DAYS, names, strict=True))


class Rows:
    """Rows of fields that can be added and removed."""

    def __init__(self, add_text: str, remove_text: str, most: int) -> None:
        self._most, self._remove_text = most, remove_text
        self.rows: list[dict[str, Any]] = []
        self._place = ui.element("div").classes("rows")
        self._add = ui.button(add_text, icon="add").props("flat dense size=sm")

    def on_add(self, make: Any) -> None:
        """make: makes a new row's fields, within it."""
        self._add.on_click(lambda: self.add(make))

    def add(self, make: Any) -> None:
        """One more row."""
        if len(self.rows) >= self._most:
            return
        with self._place, ui.element("div").classes("row-of-fields") as row:
            fields: dict[str, Any] = make()
            for one in fields.values():
                one.props("outlined dense options-dense")
            self.rows.append(fields)

            def remove() -> None:
                self.rows.remove(fields)
                row.delete()

            button = ui.button(icon="delete", color=None, on_click=remove).props("flat round dense size=sm")
            button.props(f'aria-label="{self._remove_text}"')


class RecipientForm:
    """The fields of one recipient."""

    def __init__(self, visit: Visit, id: str, before: Mapping[str, Any], accounts: list[str]) -> None:
        """id: empty for a new one. before: its document, or nothing."""
        self._visit, self._id, self._before, self._accounts = visit, id, before, accounts
        self._hosts = [one["address"] for one in before.get("channels") or () if one["kind"] == ChannelKind.SLACK]
        self._given = fields_of(before) if before else {}

    def draw(self) -> None:
        """The form; for who may not store it too, to look at."""
        _ = self._visit.text
        with ui.element("div").classes("pair"):
            with card(_("Who")), ui.element("div").classes("form"):
                self._draw_name()
                self._draw_habits()
            with card(_("When")), ui.element("div").classes("form"):
                self._draw_hours()
        with card(_("By which ways")):
            self._channels = Rows(_("One more way"), _("Remove"), CHANNELS_MAX)
            self._channels.on_add(lambda: self._channel({}))
            for one in self._given.get("channels") or [{}]:
                self._channels.add(lambda one=one: self._channel(one))
            ui.label(
                _("Rules and targets: names, or patterns with * and ?, with commas between; empty: all.")
            ).classes("hint")  # fmt: skip
        if self._visit.viewer.may(Role.ADMIN):
            with ui.row().classes("asks"):
                ui.button(_("Save"), icon="save", on_click=self._save).props("unelevated dense")

    def _draw_name(self) -> None:
        _, given = self._visit.text, self._given
        if not self._id:
            every = {ALL_ACCOUNTS: _("the installation")} if self._visit.viewer.everywhere else {}
            choices = {**every, **{one: one for one in self._accounts}}
            self._account = ui.select(choices, label=f"{_('Account')} *", value=next(iter(choices), None))
            self._name = ui.input(label=f"{_('Name')} *")
            for one in (self._account, self._name):
                one.props("outlined dense options-dense").classes("full field")
        self._title = ui.input(label=_("Title"), value=given.get("title", ""))
        self._language = ui.select(dict(LANGUAGES), label=_("Language"), value=given.get("language", "en"))
        for made in (self._title, self._language):
            made.props("outlined dense options-dense").classes("full field")

    def _draw_habits(self) -> None:
        _, given = self._visit.text, self._given
        default = given.get("default", True)
        self._default = ui.checkbox(_("Told by rules that name nobody, too"), value=default).props("dense")
        self._enabled = ui.checkbox(_("It is told"), value=given.get("enabled", True)).props("dense")
        fields = Recipient.model_fields
        rate = given.get("rate") or Rate().model_dump()
        numbers = {
            "repeat_s": (_("Told again after, seconds (empty: as the rule says)"), given.get("repeat_s")),
            "group_wait_s": (_("Gather so long before the first message, seconds"), None),
            "group_interval_s": (_("Between messages about the same rule, seconds"), None),
            "messages": (_("At most so many messages"), rate["messages"]),
            "per_s": (_("within so long, seconds"), rate["per_s"]),
        }
        self._numbers: dict[str, Any] = {}
        for name, (label, value) in numbers.items():
            if value is None and name in fields:
                value = given.get(name, fields[name].default)
            made = ui.number(label=label, value=value).props("outlined dense clearable").classes("full field")
            self._numbers[name] = made

    def _draw_hours(self) -> None:
        _ = self._visit.text
        hours = self._given.get("hours") or {}
        ui.label(_("Outside these hours only what is critical is told; the rest waits. None: always.")).classes("hint")
        zone = ui.input(label=_("Time zone"), value=hours.get("timezone") or str(self._visit.zone))
        self._zone = zone.props("outlined dense").classes("full field")
        self._windows = Rows(_("One more time of the week"), _("Remove"), 50)
        self._windows.on_add(lambda: self._window({"days": list(DAYS[:5]), "start": "08:00", "end": "18:00"}))
        for one in hours.get("windows") or []:
            self._windows.add(lambda one=one: self._window(one))

    def _window(self, window: Mapping[str, Any]) -> dict[str, Any]:
        _ = self._visit.text
        return {
            "days": ui.select(day_names(self._visit), label=_("Days"), value=list(window["days"]), multiple=True),
            "start": ui.input(label=_("From"), value=window["start"]).classes("short"),
            "end": ui.input(label=_("Until"), value=window["end"]).classes("short"),
        }

    def _channel(self, channel: Mapping[str, Any]) -> dict[str, Any]:
        _ = self._visit.text
        kinds = {"mail": _("mail"), "webhook": _("webhook"), "slack": _("Slack, or like it"), "sms": _("SMS")}
        stored = channel.get("kind") == ChannelKind.SLACK and self._hosts
        kind = ui.select(kinds, label=_("Kind"), value=channel.get("kind", "mail"))
        address = ui.input(label=_("Address, number or URL"), value=channel.get("address", "")).classes("wide")
        if stored:
            address.props(f'placeholder="{_("stored; write another to change it")}" stack-label')
        return {
            "kind": kind,
            "address": address,
            "secret": ui.input(label=_("Secret of a webhook (empty: kept, or made)")),
            "min_severity": ui.select(
                severities(self._visit), label=_("At least"), value=channel.get("min_severity", "info")
            ),
            "rules": ui.input(label=_("Rules"), value=", ".join(channel.get("rules") or ())),
            "targets": ui.input(label=_("About"), value=", ".join(channel.get("targets") or ())),
        }

    async def _save(self) -> None:
        _, visit = self._visit.text, self._visit
        account, __, name = self._id.partition("/")
        if not self._id:
            account, name = str(self._account.value or ""), str(self._name.value or "").strip()
        if not account or not ID_PATTERN.match(f"{account}/{name}"):
            ui.notify(f"{_('Name')}: {_('small letters, digits, - and _')}", type="warning")
            return
        made: dict[str, str] = {}

        async def store() -> None:
            put = await put_recipient(visit.context, visit.viewer, account, name, self._values())
            made.update(put.secrets)

        if not await act(visit, Role.ADMIN, store):
            return
        if not made:
            ui.navigate.to(RECIPIENTS)
            return
        with ui.dialog(value=True).props("persistent"), ui.card().classes("ask"):
            ui.label(_("Shown this once:"))
            for text in made.values():
                ui.label(text).classes("mono wrap")
            ui.button(_("Close"), on_click=lambda: ui.navigate.to(RECIPIENTS)).props("flat dense")

    def _values(self) -> dict[str, Any]:
        """What is in the fields, as the API takes it.

        Raises: PermanentError INVALID_INPUT when a number is missing.
        """
        numbers = {name: one.value for name, one in self._numbers.items()}
        if missing := [name for name, value in numbers.items() if value is None and name != "repeat_s"]:
            raise PermanentError(ErrorCode.INVALID_INPUT, f"{missing[0]}: a number is missing")
        windows = [{name: one.value for name, one in row.items()} for row in self._windows.rows]
        hours = {"timezone": str(self._zone.value or "").strip(), "windows": windows} if windows else None
        return {
            "title": str(self._title.value or ""), "language": self._language.value, "hours": hours,
            "channels": [_sent(row) for row in self._channels.rows], "default": bool(self._default.value),
            "enabled": bool(self._enabled.value),
            "rate": {"messages": numbers.pop("messages"), "per_s": numbers.pop("per_s")}, **numbers,
        }  # fmt: skip


def _sent(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's fields as a channel that people give."""
    texts = {name: str(row[name].value or "").strip() for name in ("address", "secret", *PATTERNS)}
    patterns = {name: [one.strip() for one in texts[name].split(",") if one.strip()] for name in PATTERNS}
    kind, least = row["kind"].value, row["min_severity"].value
    return {"kind": kind, "address": texts["address"], "secret": texts["secret"] or None, "min_severity": least,
            **patterns}  # fmt: skip
