"""Results as files: settings, names, tables, and when collected results become a file."""

from __future__ import annotations

import ast
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from services.delivery.channels.mail import subject, text
from services.delivery.core.collecting import part_due, period_end
from services.delivery.core.render import evidence_name, file_stem, rendered, safe
from services.delivery.parcels import Parcel, Proof
from shared.domain.endpoint_options import Collect, MailSettings, collect_of, complaints
from shared.texts import parse_po

AT = datetime(2027, 1, 31, 12, tzinfo=UTC)
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
results = st.none() | st.dictionaries(st.text(min_size=1, max_size=8), values, max_size=4) | st.text(max_size=5)


def body(result: Any = None, event: str = "succeeded", **data: Any) -> dict[str, Any]:
    whole = {"id": "task_1", "reference": "R/1", "workflow": "tax", "state": event, "attempts": 1, "result": result}
    return {"type": f"task.{event}", "timestamp": "2027-01-31T12:00:00.000Z", "data": {**whole, **data}}


def text_of(one: dict[str, Any]) -> str:
    return json.dumps(one, ensure_ascii=False)


@given(st.lists(results, min_size=1, max_size=5), st.sampled_from(["ndjson", "csv", "xlsx"]))
def test_every_result_is_a_row_and_the_same_results_are_the_same_bytes(found: list[Any], form: str) -> None:
    texts = [text_of(body(result)) for result in found]
    data = rendered(texts, form)
    assert rendered(texts, form) == data
    if form == "ndjson":
        # not splitlines: a text may hold what Python takes for the end of a line
        assert [json.loads(line) for line in data.decode().split("\n")[:-1]] == [json.loads(one) for one in texts]
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        assert [row["reference"] for row in rows] == ["R/1"] * len(found)
        assert not [cell for row in rows for cell in row.values() if cell and cell[0] in "=+@\t\r"]
    else:
        sheet = load_workbook(io.BytesIO(data)).active
        assert sheet is not None
        assert sheet.max_row == len(found) + 1
        assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n", "inlineStr"}


def test_a_formula_is_a_text() -> None:
    evil = '=cmd|" /C calc"!A0'
    row = next(csv.DictReader(io.StringIO(rendered([text_of(body({"x": evil}))], "csv").decode("utf-8-sig"))))
    assert row["result.x"] == f"'{evil}"
    sheet = load_workbook(io.BytesIO(rendered([text_of(body({"x": evil}))], "xlsx"))).active
    assert sheet is not None
    cell = next(cell for cell in sheet[2] if cell.value == evil)
    assert cell.data_type == "s"


@given(st.text(max_size=40), st.text(max_size=40))
def test_names_are_safe_and_never_the_same(reference: str, name: str) -> None:
    one = body(reference=reference)
    first, second = file_stem(one, "task_1:ftp:succeeded"), file_stem(one, "task_2:ftp:succeeded")
    assert first != second
    for found in (first, safe(name), evidence_name(first, 1, {"name": name}, ".png")):
        assert not found.startswith(".")
        assert all(char.isascii() and (char.isalnum() or char in "._-") for char in found)


@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
    st.integers(60, 7200),
    st.integers(1, 10),
    st.integers(0, 40_000),
)
def test_every_collected_result_is_in_one_file_and_none_is_early(
    ages: list[int], every_s: int, most: int, later: int
) -> None:
    collect = Collect(every_s=every_s, items_max=most)
    items = [(f"d{n}", AT + timedelta(seconds=age)) for n, age in enumerate(sorted(ages))]
    at = dict(items)
    now, left, files = AT + timedelta(seconds=max(ages) + later), list(items), []
    while (part := part_due(left, collect, now)) is not None:
        ids, until = part
        assert 1 <= len(ids) <= most
        assert len(ids) == most or all(at[id] < until <= now for id in ids)
        files.append(ids)
        left = [item for item in left if item[0] not in ids]
    assert [id for ids in files for id in ids] == [id for id, _ in items][: len(items) - len(left)]
    assert len(left) < most
    assert all(period_end(when, every_s) > now for _, when in left)
    assert sum(map(len, files)) + len(left) == len(items)


def test_what_waits_for_an_endpoint_that_collects_no_longer_is_due() -> None:
    assert part_due([("a", AT), ("b", AT)], None, AT) == (["a", "b"], AT)
    assert part_due([], None, AT) is None


@pytest.mark.parametrize(
    ("kind", "options", "path"),
    [
        ("mail", {}, "/options/to"),
        ("mail", {"to": ["Ann <ann@acme.example>"]}, "/options/to"),
        ("mail", {"to": ["ann@acme.example"], "language": "fr"}, "/options/language"),
        ("mail", {"to": ["ann@acme.example"], "subject": "a\nBcc: x"}, "/options/subject"),
        ("mail", {"to": ["ann@acme.example"], "collect": {"every_s": 3600}}, "/options"),
        ("mail", {"to": ["a@b.c"], "format": "csv", "collect": {"every_s": 1}}, "/options/collect/every_s"),
        ("sftp", {"host": "h", "user": "u", "document": "sftp/d"}, "/options/host_key"),
        ("sftp", {"host": "h h", "user": "u", "document": "sftp/d", "host_key": "k"}, "/options/host"),
        ("sftp", {"host": "h", "user": "u u", "document": "sftp/d", "host_key": "k"}, "/options/user"),
        ("sftp", {"host": "h", "user": "u", "document": "portal/password", "host_key": "k"}, "/options/document"),
        ("folder", {"path": "../other"}, "/options/path"),
        ("folder", {"path": "/etc"}, "/options/path"),
        ("folder", {"colour": "red"}, "/options/colour"),
    ],
)
def test_settings_that_can_not_be(kind: str, options: dict[str, Any], path: str) -> None:
    assert [one["path"] for one in complaints(kind, options)] == [path]


def test_settings_that_can() -> None:
    collected = {"format": "csv", "collect": {"every_s": 3600}}
    assert complaints("mail", {"to": ["ann@acme.example"], **collected}) == []
    assert complaints("folder", {"path": "results/tax"}) == []
    collect = collect_of({"kind": "mail", "options": {"to": ["ann@acme.example"], **collected}})
    assert collect is not None
    assert collect.every_s == 3600
    for other in (None, {"kind": "webhook"}, {"kind": "folder"}, {"kind": "folder", "options": {"path": "/"}}):
        assert collect_of(other) is None


def test_a_mail_says_what_it_holds_in_its_language() -> None:
    bodies = [body(event="failed")]
    parcel = Parcel("x.json", "application/json", b"{}", bodies)
    portuguese = MailSettings(to=["ann@acme.example"], language="pt_BR")
    assert subject(portuguese, bodies) == "R/1: falhou"
    assert "- tax / R/1: falhou" in text(portuguese, parcel, [Proof("big.png", "image/png", 9, "ab")])
    assert "big.png" in text(portuguese, parcel, [Proof("big.png", "image/png", 9, "ab")])
    english = MailSettings(to=["ann@acme.example"])
    assert subject(english, bodies * 3) == "3 results"
    own = MailSettings(to=["ann@acme.example"], subject="{workflow} {reference} {event} {colour}")
    assert subject(own, [body(reference="a\r\nBcc: x")]) == "tax a Bcc: x succeeded {colour}"


def test_portuguese_has_every_text_of_mails_and_no_other() -> None:
    folder = Path(__file__).parents[3] / "services" / "delivery"
    catalogue = parse_po((folder / "locale" / "pt_BR" / "delivery.po").read_text())
    tree = ast.parse((folder / "channels" / "mail.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    texts = {node.args[0].value for node in calls if node.func.id == "_"}  # type: ignore[attr-defined]
    assert set(catalogue) == texts
    assert all(catalogue.values())
