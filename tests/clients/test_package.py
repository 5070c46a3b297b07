"""The package as partners install it: old Pythons, typed, and two clients that can do the same."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from regente_client import AsyncClient, Client

FOLDER = Path(__file__).resolve().parents[2] / "clients" / "python"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_its_syntax_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    unions = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and _new_union(node)]
    assert unions == [], "isinstance(x, A | B) needs Python 3.10"


def _new_union(node: ast.Call) -> bool:
    named = isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")
    return named and len(node.args) == 2 and isinstance(node.args[1], ast.BinOp)


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in found if name[0] != "_"}

    assert public(Client) == public(AsyncClient)


def test_it_is_marked_as_typed_and_names_its_two_needs() -> None:
    assert (FOLDER / "regente_client" / "py.typed").exists()
    text = (FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    needs = re.search(r"^dependencies = \[(.*)\]$", text, re.MULTILINE)
    assert needs is not None
    assert re.findall(r'"([a-z]+)', needs.group(1)) == ["httpx", "standardwebhooks"]
