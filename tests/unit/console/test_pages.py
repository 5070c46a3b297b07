"""What pages are made of: languages, escaped markup, safe ways after the log-in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console import pages
from services.console.pages.language import choose_language, parse_po, translate
from services.console.pages.login import safe_target
from services.console.pages.markup import Html, button, facts, seconds, short_id, table, tag

FOLDER = Path(pages.__file__).parent


def texts_of_pages() -> set[str]:
    """Every text that a page gives to `_`; anything but a literal fails."""
    found = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path.name}:{node.lineno}: not a literal"
                found.add(argument.value)
    return found


def test_portuguese_has_every_text_and_no_other() -> None:
    catalogue = parse_po((FOLDER / "locale" / "pt_BR" / "console.po").read_text())
    assert set(catalogue) == texts_of_pages()
    assert [text for text, translated in catalogue.items() if not translated] == []


def test_po_files_are_read() -> None:
    text = '# comment\nmsgid ""\nmsgstr "Language: x\\n"\n\nmsgid "two "\n"parts"\nmsgstr "duas\\n"\n"partes"\n'
    assert parse_po(text) == {"two parts": "duas\npartes"}
    with pytest.raises(ValueError, match="line 1"):
        parse_po("msgctxt 'x'")


@pytest.mark.parametrize(
    ("chosen", "header", "language"),
    [
        (None, None, "en"),
        (None, "pt-BR,pt;q=0.9,en;q=0.8", "pt_BR"),
        (None, "de,en;q=0.3,pt;q=0.5", "pt_BR"),
        (None, "de, fr", "en"),
        (None, ";q=x,,", "en"),
        ("en", "pt-BR", "en"),
        ("xx", "pt-PT", "pt_BR"),
    ],
)
def test_language_is_the_users_then_the_browsers(chosen: str | None, header: str | None, language: str) -> None:
    assert choose_language(chosen, header) == language


def test_unknown_texts_stay_english() -> None:
    assert translate("pt_BR")("Tasks") == "Tarefas"
    assert translate("pt_BR")("never translated") == "never translated"
    assert translate("en")("Tasks") == "Tasks"


@given(st.text())
def test_what_comes_from_outside_never_becomes_markup(text: str) -> None:
    hostile = text + '<script>"&'
    for made in (tag("td", hostile, title=hostile), table(["a"], [[hostile]], "-"), facts([(hostile, hostile)])):
        assert "<script>" not in made
        assert isinstance(made, Html)
    assert '"<' not in button("x", "act", hostile).replace('="', "=")


def test_markup_of_ours_is_kept_and_nothing_is_left_out_by_accident() -> None:
    assert (
        tag("p", tag("b", "x"), None, False, 0, class_="c", hidden=True, other=None)
        == '<p class="c" hidden><b>x</b>0</p>'
    )
    assert facts([("a", 0), ("b", None), ("c", "")]).count("<dt>") == 1


@pytest.mark.parametrize(
    "target", ["", "https://evil.example", "//evil.example", "/\\evil.example", "/ok\nX: y", "javascript:alert(1)"]
)
def test_other_sites_are_no_targets(target: str) -> None:
    assert safe_target(target) == "/"


def test_our_own_addresses_are_targets() -> None:
    assert safe_target("/runs/run_1?seq=3") == "/runs/run_1?seq=3"


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.25, "250 ms"), (5.0, "5 s"), (59.94, "59.9 s"), (90, "2 min"), (7200, "2 h")]
)
def test_durations(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_short_ids_keep_the_end() -> None:
    assert short_id("task_0123456789abcdef0123456789abcdef") == "task_…89abcdef"
    assert short_id("00155d01020a") == "00155d01020a"
    assert short_id(None) == ""
