"""Every kind of rule has its page, and what the page names is there: figures, log lines, commands."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.main import app
from services.console.pages.runbook import linked
from shared.domain.alert_rules import DEFAULTS, RuleKind

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "runbooks"
CONSOLES = ROOT / "services" / "console" / "pages" / "runbooks"
SECTIONS = ["Figure", "Log line", "Command", "What to do"]
FIGURE = re.compile(r"`(regente_[a-z_]+?)(?:\{[^`]*\})?`")
COMMAND = re.compile(r"`regente ([a-z]+)(?: ([a-z]+))?[^`]*`")


@lru_cache
def code() -> str:
    """Everything that the services say."""
    files = [path for folder in ("services", "shared") for path in (ROOT / folder).rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def section(text: str, name: str) -> str:
    return text.partition(f"## {name}\n")[2].partition("\n## ")[0]


def test_pages_and_kinds_are_the_same() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {kind.value for kind in RuleKind}
    assert {rule.kind for rule in DEFAULTS} == set(RuleKind)
    assert {path.name for path in CONSOLES.iterdir()} == {path.name for path in PAGES.iterdir()}, "the console has them"


@pytest.mark.parametrize("kind", RuleKind, ids=str)
def test_links_of_the_consoles_pages_lead_somewhere(kind: RuleKind) -> None:
    links = re.findall(r"\]\(([^)]*)\)", linked((PAGES / f"{kind}.md").read_text(encoding="utf-8")))
    assert {link for link in links if not link.startswith("https://")} <= {f"/runbooks/{each}" for each in RuleKind}


@pytest.mark.parametrize("kind", RuleKind, ids=str)
def test_a_page_names_what_is_there(kind: RuleKind) -> None:
    text = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    figures = FIGURE.findall(section(text, "Figure"))
    assert "regente_alerts_open" in figures
    for figure in FIGURE.findall(text):
        assert f'"{figure}"' in code() or f'"{figure.removeprefix("regente_")}"' in code(), figure
    line = re.match(r"\s*`([^`]+)`, of ([a-z]+):", section(text, "Log line"))
    assert line, "which line, of which service"
    assert f'"{line[1]}"' in code(), line[1]
    commands = typer.main.get_command(app)
    found = COMMAND.findall(text)
    assert found
    for group, command in found:
        _known(commands, group, command)
    assert section(text, "What to do").count("\n") >= 2


def _known(commands: Any, group: str, command: str) -> None:
    assert group in commands.commands, group
    inner = getattr(commands.commands[group], "commands", None)
    if inner is not None:
        assert command in inner, f"regente {group} {command}"


@pytest.mark.parametrize("kind", RuleKind, ids=str)
def test_a_page_explains_the_parameters_of_its_rule(kind: RuleKind) -> None:
    text = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    rule = next(rule for rule in DEFAULTS if rule.kind is kind)
    missing = [name for name in rule.params if f"`{name}`" not in text and name != "keep_s"]
    assert not missing
