"""The check of objects.yaml, and of the objects that scripts name: unknown ones, unused ones, doubled ones.

Called by: shared.script.check. Pure. Change also: shared/contracts/workflow_file.py (the model), the agent's
drivers/elements.py (reads selectors), docs/workflows.md."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from shared.contracts.workflow_file import (
    OBJECT_NAME_PATTERN,
    OBJECTS_MAX,
    ROLE_PATTERN,
    SELECTOR_KINDS,
    SELECTOR_PATTERN,
    ObjectDef,
)
from shared.script.complaint import CheckError, validation, yaml_error
from shared.script.modules import OBJECT

FILE = "objects.yaml"
NEAREST_MAX = 3
NAMED_MAX = 20


@dataclass(frozen=True)
class Repository:
    """What objects.yaml says."""

    objects: dict[str, ObjectDef] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each name, from 1."""
    errors: tuple[CheckError, ...] = ()
    warnings: tuple[CheckError, ...] = ()


@dataclass(frozen=True)
class Named:
    """What a script says about objects."""

    names: dict[str, int] = field(default_factory=dict)
    """Every name with the first line on which it stands."""
    handles: tuple[int, ...] = ()
    """Lines on which it makes a handle itself."""
    passes_on: bool = False
    """It hands the module itself on, so nobody can tell what it uses."""


def read_objects(files: Mapping[str, str]) -> Repository:
    """Read and check objects.yaml; a workflow without one has no objects."""
    if FILE not in files:
        return Repository()
    try:
        node = yaml.compose(files[FILE], Loader=yaml.SafeLoader)
        data = yaml.safe_load(files[FILE])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return Repository(errors=(yaml_error(FILE, error),))
    if data is None:
        return Repository()
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        return Repository(errors=(CheckError(FILE, None, "must map names to {selectors: [...]}"),))
    if len(data) > OBJECTS_MAX:
        return Repository(errors=(CheckError(FILE, None, f"{len(data)} objects; at most {OBJECTS_MAX}"),))
    errors = list(_doubled(node))
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    objects: dict[str, ObjectDef] = {}
    for key, value in data.items():
        found, complaints = _one(key, value, lines.get(str(key)))
        errors += complaints
        if found is not None:
            objects[key] = found
    return Repository(objects, lines, tuple(errors), tuple(_same(objects, lines)))


def named_in(tree: ast.Module) -> Named:
    """Which objects a script names: `objects.name`, however the module was imported, and `from regente.objects`."""
    modules, roots, names = _imports(tree)
    handles: list[int] = []
    attributes = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_module(node.value, modules, roots):
            names.setdefault(node.attr, node.lineno)
            attributes += isinstance(node.value, ast.Name)
        elif isinstance(node, ast.Dict) and any(isinstance(k, ast.Constant) and k.value == OBJECT for k in node.keys):
            handles.append(node.lineno)
    loads = sum(isinstance(n, ast.Name) and n.id in modules and isinstance(n.ctx, ast.Load) for n in ast.walk(tree))
    return Named(names, tuple(handles), passes_on=loads > attributes)


def unknown(script: str, named: Named, objects: Iterable[str]) -> list[CheckError]:
    """What is wrong with the objects that a script names: those that objects.yaml has not, with the nearest names."""
    known = sorted(objects)
    errors = [
        CheckError(script, line, f"objects.yaml has no {name}{_nearest(name, known)}")
        for name, line in sorted(named.names.items(), key=lambda one: one[1])
        if name not in known
    ]
    text = "an object is named as objects.<name>, not made by hand"
    return errors + [CheckError(script, line, text) for line in named.handles]


def unused(repository: Repository, scripts: Sequence[Named]) -> list[CheckError]:
    """A warning for the objects that no script names; nothing where a script hands the module itself on."""
    if any(one.passes_on for one in scripts):
        return []
    used = {name for one in scripts for name in one.names}
    return [
        CheckError(FILE, repository.lines.get(name), f"{name} is used by no script")
        for name in repository.objects
        if name not in used
    ]


def selector_problem(selector: str) -> str | None:
    """What is wrong with a selector, or nothing."""
    match = SELECTOR_PATTERN.match(selector)
    if match is None:
        kinds = [f"{kind}=" for kind in SELECTOR_KINDS]
        return f"selector {selector[:100]!r} must begin with {', '.join(kinds[:-1])} or {kinds[-1]}"
    if match["kind"] == "role" and ROLE_PATTERN.fullmatch(match["text"]) is None:
        return f"selector {selector[:100]!r} must look like role=button or role=button[name=Search]"
    return None


def _one(key: Any, value: Any, line: int | None) -> tuple[ObjectDef | None, list[CheckError]]:
    """One entry: the object, and what is wrong with it."""
    if not isinstance(key, str) or not OBJECT_NAME_PATTERN.match(key):
        return None, [CheckError(FILE, line, f"{key!r} is no name: small letters, digits and underscores")]
    try:
        found = ObjectDef.model_validate(value)
    except ValidationError as error:
        return None, validation(FILE, error, f"{key}.", line)
    complaints = []
    places = [("", found.selectors), *((f" in {name}", one.selectors) for name, one in found.environments.items())]
    for where, selectors in places:
        twice = sorted({one for one in selectors if selectors.count(one) > 1})
        texts = [text for text in map(selector_problem, selectors) if text is not None]
        texts += [f"selector {one[:100]!r} stands there twice" for one in twice]
        complaints += [CheckError(FILE, line, f"{key}{where}: {text}") for text in texts]
    return found, complaints


def _doubled(node: yaml.MappingNode, within: str = "") -> Iterator[CheckError]:
    """Keys that stand twice in a mapping: YAML would silently take the last."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            yield CheckError(FILE, line, f"{within}{name} stands there twice, first on line {seen[name]}")
        seen[name] = line
        if isinstance(value, yaml.MappingNode) and within.count(".") < 3:
            yield from _doubled(value, f"{within}{name}.")


def _same(objects: Mapping[str, ObjectDef], lines: Mapping[str, int]) -> Iterator[CheckError]:
    """A warning for two names of one element."""
    first: dict[str, str] = {}
    for name, one in objects.items():
        other = first.setdefault(one.model_dump_json(exclude={"title"}), name)
        if other != name:
            yield CheckError(FILE, lines.get(name), f"{name} has the same selectors as {other}")


def _imports(tree: ast.Module) -> tuple[set[str], set[str], dict[str, int]]:
    """Names under which a script has the module `objects` and the package `regente`, and objects imported by name."""
    modules: set[str] = set()
    roots: set[str] = set()
    names: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "regente":
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "objects"}
        elif isinstance(node, ast.ImportFrom) and node.module == "regente.objects":
            for alias in node.names:
                names.setdefault(alias.name, node.lineno)
        elif isinstance(node, ast.Import):
            roots |= {alias.asname or "regente" for alias in node.names if alias.name in ("regente", "regente.objects")}
    return modules, roots, names


def _is_module(node: ast.expr, modules: set[str], roots: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in modules
    of_root = isinstance(node, ast.Attribute) and node.attr == "objects"
    return of_root and isinstance(node.value, ast.Name) and node.value.id in roots  # type: ignore[attr-defined]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, NEAREST_MAX, 0.6)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if not known:
        return "; it names no objects"
    rest = f" and {len(known) - NAMED_MAX} more" if len(known) > NAMED_MAX else ""
    return f"; it has {', '.join(known[:NAMED_MAX])}{rest}"
