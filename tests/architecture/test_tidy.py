"""Sizes, docstrings and banned calls: what a linter can't see, or what it is cheaper to see here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "shared", "services", "agent/regente_agent", "clients/python/regente_client", "cli", "deploy", "demo", "docs",
)  # fmt: skip
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"utils", "common", "helpers", "manager", "base", "misc"}
PURE = ("shared/domain", "shared/contracts", "shared/intake")
BANNED_IN_PURE = {"now", "utcnow", "today", "monotonic", "time", "uuid4", "random", "sleep", "getenv"}


def sources() -> list[Path]:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in files if "demo/workflow" not in str(path) and ".egg-info" not in str(path))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_tidy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    module = tree(path)
    problems = []
    if text.count("\n") > FILE_LINES_MAX:
        problems.append(f"{text.count(chr(10))} lines; at most {FILE_LINES_MAX}")
    if path.stem in BANNED_NAMES:
        problems.append("its name says nothing")
    if text.strip() and not ast.get_docstring(module):
        problems.append("has no docstring")
    problems += list(_functions(module))
    problems += list(_impure(path, module))
    assert not problems, f"{path.relative_to(ROOT)}: {problems}"


def _functions(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{node.name} has {length} lines; at most {FUNCTION_LINES_MAX}"


def _impure(path: Path, module: ast.Module) -> Iterator[str]:
    relative = str(path.relative_to(ROOT))
    if not (relative.startswith(PURE) or "/core/" in relative or relative.endswith("/core.py")):
        return
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in BANNED_IN_PURE:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in {
                "datetime",
                "date",
                "time",
                "uuid",
                "random",
                "os",
                "asyncio",
                "dt",
            }:
                yield f"line {node.lineno}: a decision asks for {owner.id}.{node.func.attr}()"


def test_nothing_names_a_registry_or_a_machines_path() -> None:
    banned = ("pypi.org", "files.pythonhosted", "registry.npmjs", "deb.debian.org", "/work/", "/root/")
    found = []
    for pattern in ("*.py", "*.md", "*.toml", "*.txt", "*.in", "Makefile", "*.yaml", "*.yml"):
        for path in ROOT.rglob(pattern):
            hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
            if not hidden and path != Path(__file__).resolve():
                text = path.read_text(encoding="utf-8", errors="replace")
                found += [f"{path.relative_to(ROOT)}: {word}" for word in banned if word in text]
    assert not found
