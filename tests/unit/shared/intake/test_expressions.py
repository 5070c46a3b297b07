"""Expressions, templates and settings: what people write is checked when it is saved, and bounded when it runs."""

from __future__ import annotations

from typing import Any

import pytest

from shared.intake.expressions import BUDGET, BadExpression, Expression, Failed, Purse
from shared.intake.mapping import mapped, row_item, typed
from shared.intake.source_settings import BadSettings, Columns, ItemMapping, read_settings
from shared.intake.table import Row
from shared.intake.templates import BadTemplate, check, fill, fill_url

DATA = {"s": "x" * 100_000, "l": ["y"] * 100_000, "items": [{"a": n, "b": "q" * 20} for n in range(2000)]}
POLL: dict[str, Any] = {
    "kind": "poll",
    "schedule": {"every_s": 60},
    "request": {"url": "https://partner.example/orders"},
    "item": {"reference": "id", "input": "@"},
}


@pytest.mark.parametrize(
    "text",
    [
        "|".join(["[@,@][]"] * 100),
        "|".join(["[@,@]"] * 160) + "|to_string(@)",
        "join(s, l)",
        "|".join(["{a:@,b:@}"] * 90),
    ],
)
def test_no_expression_runs_on(text: str) -> None:
    with pytest.raises(Failed, match="takes too long"):  # without the purse: for ever
        Expression(text).of(DATA, Purse(BUDGET // 20))


def test_ordinary_expressions_work() -> None:
    assert Expression("max_by(items,&a).a").of(DATA) == 1999
    assert Expression("join(',', items[?a < `3`].to_string(a))").of(DATA) == "0,1,2"
    with pytest.raises(Failed, match="join"):
        Expression("join(',', items)").of(DATA)
    for text in ("foo(", "", "(" * 900, "a" * 2000):
        with pytest.raises(BadExpression):
            Expression(text)


def test_all_items_of_a_page_share_one_purse() -> None:
    mapping = ItemMapping(reference="id", input={"n": "n"})
    with pytest.raises(Failed, match="takes too long"):
        mapped([{"id": n, "n": n} for n in range(1000)], mapping, Purse(2000))
    items, problems = mapped([{"id": 7, "n": 1}, {"id": "B"}], mapping, Purse())
    assert items == [{"reference": "7", "input": {"n": 1}}, {"reference": "B", "input": {}}]
    assert problems == {}
    items, problems = mapped(["x"], ItemMapping(reference="id", input={"n": "length(n)"}), Purse())
    assert items == [{}]
    assert "length" in problems[0]


def test_templates_keep_types_and_stay_in_their_place() -> None:
    values = {"cursor": 7, "reference": "a/b?c={cursor}"}
    assert fill({"ids": ["{cursor}"], "text": "after {cursor}", "json": "{}"}, values) == {
        "ids": [7], "text": "after 7", "json": "{}"
    }  # fmt: skip
    assert fill_url("https://x/y/{reference}", values) == "https://x/y/a%2Fb%3Fc%3D%7Bcursor%7D"
    with pytest.raises(BadTemplate, match=r"\{cursr\} is not known"):
        check({"a": ["{cursr}"]}, {"cursor"})


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"item": {"reference": "id", "input": "foo("}}, "/item/input", "no JMESPath"),
        ({"schedule": {"cron": "0 9 * *"}}, "/schedule", "five fields"),
        ({"schedule": {"cron": "0 9 * * *", "timezone": "Mars/Base"}}, "/schedule", "no time zone"),
        ({"schedule": {}}, "/schedule", "every_s"),
        ({"auth": {"kind": "oauth2", "client": "x"}}, "/auth/token_url", "required"),
        ({"auth": {"kind": "oauth2", "client": "a b", "token_url": "https://x/t"}}, "/auth/client", "match"),
        ({"request": {"url": "https://{cursor}/x"}}, "/request", "the host can't"),
        ({"request": {"url": "https://u:p@x/"}}, "/request/url", "match"),
        ({"request": {"url": "https://x/", "headers": {"Authorization": "x"}}}, "/request/headers", "secrets stand"),
        ({"request": {"url": "https://x/", "params": {"since": "{cursor}"}}}, "", "cursor says not"),
        ({"cursor": {"expression": "last"}}, "", "begin anew"),
        ({"acknowledge": {"per": "task", "url": "https://x/{references}"}}, "/acknowledge", "not known"),
        ({"surprise": 1}, "/surprise", "not permitted"),
        ({"kind": "gopher"}, "", "kind"),
    ],
)
def test_settings_name_the_field_that_is_wrong(change: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(BadSettings) as raised:
        read_settings({**POLL, **change})
    one = raised.value.complaints[0]
    assert one["path"].startswith(path)
    assert said in one["message"] or said in str(raised.value)


def test_rows_become_items_with_the_types_of_the_schema() -> None:
    schema = {
        "properties": {
            "registration": {"type": "string"}, "n": {"type": "integer"}, "sum": {"type": "number"},
            "ok": {"type": ["boolean", "null"]}, "address": {"properties": {"zip": {"type": "string"}}},
        }
    }  # fmt: skip
    cells = {
        "reference": 12,
        "priority": "3",
        "registration": 7,
        "n": "5",
        "sum": "1,5",
        "ok": "Sim",
        "address.zip": 90,
    }
    assert row_item(Row(2, cells), None, schema, fallback="f") == {
        "reference": "12",
        "priority": 3,
        "input": {"registration": "7", "n": 5, "sum": 1.5, "ok": True, "address": {"zip": "90"}},
    }
    columns = Columns(input={"registration": "Matrícula"}, deadline="Até")
    assert row_item(Row(4, {"Matrícula": "1", "x": 1}), columns, schema, fallback="f") == {
        "reference": "f:4", "input": {"registration": "1"}
    }  # fmt: skip
    assert typed({"n": "five", "a.": 1, "address": "x", "address.zip": "y"}, schema)["n"] == "five"
