"""A form's fields on a page: made of core/form.py, read back as texts, with what is wrong at each field.

Called by: new_task.py. Nothing here knows what fits; that is said by the collector's rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import events, ui

from services.console.core.form import Field, Form, Kind
from services.console.core.form_values import Fault
from services.console.store.uploads import FILE_BYTES_MAX
from shared.intake.schema import FILE_FORMAT

LINES_SHOWN = 4


def fault_text(_: Callable[[str], str], fault: Fault) -> str:
    """What is wrong, for people."""
    return {
        Fault.REQUIRED: _("Fill this in."),
        Fault.INTEGER: _("A whole number, please."),
        Fault.NUMBER: _("A number, please, such as 1234.5 or 1234,5."),
        Fault.DATE: _("A day, please, such as 2027-01-31."),
        Fault.MOMENT: _("A day and a time, please."),
        Fault.JSON: _("This is no JSON."),
        Fault.CHOICE: _("Choose one of these."),
        Fault.LONG: _("This is too long."),
    }[fault]


Attach = Callable[[str, str, bytes], Awaitable[str | None]]
"""(name, media type, bytes) -> id; none when it was not kept, which was said."""


class Fields:
    """The fields of a form, drawn where this is made."""

    def __init__(
        self, _: Callable[[str], str], form: Form, raw: Mapping[str, Any], attach: Attach | None = None
    ) -> None:
        """attach: keeps a file and gives its id; without it, ids of files are typed."""
        self._text = _
        self._attach = attach
        self._form = form
        self._made: dict[str, Any] = {}
        self._errors: dict[str, ui.label] = {}
        for one in form.fields:
            self._draw(one, raw)

    def raw(self) -> dict[str, Any]:
        """What is in the fields."""
        return {pointer: element.value for pointer, element in self._made.items()}

    def complain(self, said: Mapping[str, str]) -> None:
        """Show what is wrong, by pointer, and take back what was shown before."""
        for pointer, label in self._errors.items():
            text = said.get(pointer, "")
            label.set_text(text)
            label.set_visibility(bool(text))
            if pointer in self._made:
                self._made[pointer].classes(add="wrong" if text else "", remove="" if text else "wrong")

    def _draw(self, one: Field, raw: Mapping[str, Any]) -> None:
        if one.kind is Kind.GROUP:
            with ui.element("fieldset").classes("group"):
                with ui.element("legend"):
                    ui.label(one.label + (" *" if one.required else ""))
                if one.hint:
                    ui.label(one.hint).classes("hint")
                self._error(one)
                for inner in one.fields:
                    self._draw(inner, raw)
            return
        with ui.element("div").classes("field").mark(f"field {one.pointer}"):
            element = self._element(one, raw.get(one.pointer))
            self._made[one.pointer] = element
            if one.kind is Kind.TEXT and one.rules.get("format") == FILE_FORMAT and self._attach is not None:
                self._draw_attach(element, self._attach)
            hint = " · ".join(part for part in (one.hint, rules_text(self._text, one)) if part)
            if hint:
                ui.label(hint).classes("hint")
            self._error(one)

    def _draw_attach(self, element: Any, attach: Attach) -> None:
        """A button that keeps a file and writes its id into the field."""
        _ = self._text

        async def came(event: events.UploadEventArguments) -> None:
            picker.reset()
            id = await attach(event.file.name, event.file.content_type, await event.file.read())
            if id is not None:
                element.set_value(id)
                shown.set_text(event.file.name)

        picker = ui.upload(max_files=1, max_file_size=FILE_BYTES_MAX, auto_upload=True, on_upload=came)
        picker.classes("hidden")
        with ui.row().classes("picks"):
            choose = ui.button(_("Choose a file"), icon="attach_file").props("outline dense size=sm")
            choose.on("click", js_handler=f"() => getElement({picker.id}).pickFiles()")
            shown = ui.label().classes("dim")

    def _error(self, one: Field) -> None:
        label = ui.label().classes("complaint").props('role="alert"')
        label.set_visibility(False)
        self._errors[one.pointer] = label

    def _element(self, one: Field, value: Any) -> Any:
        """The element that one field is filled in with."""
        _ = self._text
        label = (one.label or _("Input as JSON")) + (" *" if one.required else "")
        if one.kind is Kind.FLAG and one.required and not one.nullable:
            return ui.switch(label, value=bool(value))
        if one.kind in (Kind.CHOICE, Kind.FLAG, Kind.CHOICES):
            return self._choice(one, label, value)
        if one.kind in (Kind.LONG, Kind.LIST, Kind.JSON):
            made = ui.textarea(label=label, value=str(value or ""))
            mono = " mono" if one.kind is Kind.JSON else ""
            return made.props(f"outlined dense autogrow stack-label rows={LINES_SHOWN}").classes(f"full{mono}")
        made_input = ui.input(label=label, value=str(value or ""))
        kinds = {Kind.DATE: "type=date stack-label", Kind.MOMENT: "type=datetime-local stack-label"}
        return made_input.props(f"outlined dense {kinds.get(one.kind, '')}").classes("full")

    def _choice(self, one: Field, label: str, value: Any) -> Any:
        names = {str(place): self._option(option) for place, option in enumerate(one.options)}
        many = one.kind is Kind.CHOICES
        start = [str(inner) for inner in value or []] if many else (str(value) if value not in (None, "") else None)
        made = ui.select(names, label=label, value=start, multiple=many, clearable=not one.required)
        return made.props("outlined dense options-dense" + (" use-chips" if many else "")).classes("full")

    def _option(self, value: Any) -> str:
        _ = self._text
        if isinstance(value, bool):
            return _("yes") if value else _("no")
        return _("(nothing)") if value is None else str(value)


def rules_text(_: Callable[[str], str], one: Field) -> str:
    """What the schema asks of a value, in a few words."""
    parts: list[str] = []
    if one.kind is Kind.LIST:
        parts.append(_("one per line"))
    low, high = one.rules.get("minimum"), one.rules.get("maximum")
    if low is not None or high is not None:
        parts.append(_bounds(_, low, high))
    if one.kind in (Kind.TEXT, Kind.LONG):
        short, long = one.rules.get("minLength"), one.rules.get("maxLength")
        if short is not None or long is not None:
            parts.append(f"{_bounds(_, short, long)} {_('characters')}")
        if one.rules.get("pattern"):
            parts.append(f"{_('pattern')} {str(one.rules['pattern'])[:80]}")
    return ", ".join(parts)


def _bounds(_: Callable[[str], str], low: Any, high: Any) -> str:
    if low is None:
        return f"{_('at most')} {high}"
    return f"{_('at least')} {low}" if high is None else f"{low} {_('to')} {high}"
