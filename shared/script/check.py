"""The check of a workflow's folder before it may be published: its files, its schema, its objects, its scripts' types.

Called by: services/console (check, publish), cli (`regente workflow check DIR`, offline). Pure but for Monty's
checker, which runs in a subprocess of its own; nothing of the script is executed: the text is fed behind a line that
never calls it."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import ValidationError
from pydantic_monty import AsyncMonty, MontyComplete, MontyRuntimeError, MontySyntaxError, MontyTypingError

from shared.contracts.workflow_file import (
    FILES_MAX,
    FILES_SIZE_BYTES_MAX,
    SCRIPT_SIZE_BYTES_MAX,
    ObjectDef,
    WorkflowFile,
)
from shared.script.complaint import CheckError, validation, yaml_error
from shared.script.modules import script_modules
from shared.script.objects import Named, named_in, read_objects, unknown, unused

PHASES = {"setup": ("group",), "execute": ("task",), "keepalive": ("group",), "teardown": ("group",)}
RESOLVED = "\nimport regente\n"
"""Behind every script that is checked: the checker knows the types of the instructions' arguments only where `regente`
is imported, and would let anything pass as an object elsewhere."""
_LOCATION = re.compile(r"^(?P<file>[^:\n]*):(?P<line>\d+):\d+: (?P<message>.*)$")


@dataclass(frozen=True)
class Checked:
    """What came of a check; `errors` is empty when it may be published, whatever the warnings."""

    errors: tuple[CheckError, ...]
    definition: WorkflowFile | None
    objects: dict[str, ObjectDef] = field(default_factory=dict)
    digest: str = ""
    """SHA-256 over the files that a version consists of."""
    warnings: tuple[CheckError, ...] = ()
    """What looks wrong but may be meant."""


async def check_workflow(files: Mapping[str, str]) -> Checked:
    """Check a workflow's files, given as texts by their names relative to the folder."""
    errors = _sizes(files)
    if errors:
        return Checked(tuple(errors), None)
    definition, errors = _definition(files)
    repository = read_objects(files)
    errors += repository.errors
    named: list[Named] = []
    if definition is not None:
        errors += _schema(definition)
        for scenario in definition.scenarios:
            found, complaints = await _script(
                scenario.script, files.get(scenario.script), repository.objects, worker=scenario.worker
            )
            errors += [one for one in complaints if one not in errors]
            named += found
    warnings = [*repository.warnings, *unused(repository, named)] if not errors else []
    return Checked(tuple(errors), definition, repository.objects, digest(files), tuple(warnings))


def digest(files: Mapping[str, str]) -> str:
    """SHA-256 in hex over names and texts, whatever their order."""
    canonical = json.dumps(sorted(files.items()), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sizes(files: Mapping[str, str]) -> list[CheckError]:
    if len(files) > FILES_MAX:
        return [CheckError("", None, f"{len(files)} files; a workflow has at most {FILES_MAX}")]
    total = sum(len(text.encode()) for text in files.values())
    if total > FILES_SIZE_BYTES_MAX:
        return [CheckError("", None, f"{total} bytes; a workflow has at most {FILES_SIZE_BYTES_MAX}")]
    return []


def _yaml(name: str, text: str) -> tuple[Any, list[CheckError]]:
    try:
        return yaml.safe_load(text), []
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return None, [yaml_error(name, error)]


def _definition(files: Mapping[str, str]) -> tuple[WorkflowFile | None, list[CheckError]]:
    name = "workflow.yaml"
    if name not in files:
        return None, [CheckError(name, None, "is missing")]
    data, errors = _yaml(name, files[name])
    if errors:
        return None, errors
    try:
        return WorkflowFile.model_validate(data), []
    except ValidationError as error:
        return None, validation(name, error)


def _schema(definition: WorkflowFile) -> list[CheckError]:
    if definition.input.get("type") != "object":
        return [CheckError("workflow.yaml", None, "input: its type must be object")]
    try:
        Draft202012Validator.check_schema(definition.input)
    except SchemaError as error:
        path = ".".join(str(part) for part in error.absolute_path)
        return [CheckError("workflow.yaml", None, f"input{'.' + path if path else ''}: {error.message}")]
    if _refers_outside(definition.input):
        return [CheckError("workflow.yaml", None, "input: a $ref may only point inside the schema (#...)")]
    return []


def _refers_outside(schema: Any) -> bool:
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        if isinstance(ref, str) and not ref.startswith("#"):
            return True
        return any(_refers_outside(value) for value in schema.values())
    return isinstance(schema, list) and any(_refers_outside(value) for value in schema)


async def _script(
    name: str, text: str | None, objects: Mapping[str, ObjectDef], *, worker: bool
) -> tuple[list[Named], list[CheckError]]:
    """What a script says about objects (nothing when it can't be read), and what is wrong with it."""
    if text is None:
        return [], [CheckError(name, None, "is named in workflow.yaml, but missing")]
    if len(text.encode()) > SCRIPT_SIZE_BYTES_MAX:
        return [], [CheckError(name, None, f"larger than {SCRIPT_SIZE_BYTES_MAX} bytes")]
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [], [CheckError(name, getattr(error, "lineno", None), f"does not parse: {error}")]
    named = named_in(tree)
    errors = [*_phases(name, tree), *unknown(name, named, objects)]
    errors += [] if worker else _robot_used(name, tree)
    return [named], errors or await _types(name, text, objects, worker=worker)


def _robot_used(name: str, tree: ast.Module) -> list[CheckError]:
    """Where a script of a scenario with worker: false imports the robot's instructions."""
    text = "uses a robot, but its scenario says worker: false"
    found = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
        if module.partition(".")[0] == "robot"
    ]
    return [CheckError(name, line, text) for line in sorted(found)]


def _phases(name: str, tree: ast.Module) -> list[CheckError]:
    """Whether setup, execute, keepalive and teardown, as far as they stand there, have their one argument."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    errors = []
    for phase, (argument,) in PHASES.items():
        node = functions.get(phase)
        if node is None:
            if phase == "execute":
                errors.append(CheckError(name, None, "has no function execute(task)"))
        elif len(node.args.args) + len(node.args.posonlyargs) != 1 or node.args.kwonlyargs:
            errors.append(CheckError(name, node.lineno, f"{phase} takes one argument: {phase}({argument})"))
    return errors


async def _types(name: str, text: str, objects: Mapping[str, ObjectDef], *, worker: bool) -> list[CheckError]:
    """Monty's own type check, against the stubs. The text is compiled and its top level runs without host calls."""
    async with AsyncMonty(max_processes=1, request_timeout=30) as pool:
        checkout = pool.checkout(
            script_name=name,
            type_check=True,
            type_check_format="concise",
            limits={"max_memory": 64_000_000, "max_turn_duration_secs": 2.0},
            external_modules=script_modules(objects, worker=worker),
            os_policy={"datetime": "call_host", "sleep": "call_host", "random_start": {"seed": 0}},
        )
        try:
            async with checkout as session:
                return await _load(name, session.feed_start(text + RESOLVED))
        except MontyTypingError as error:
            return _diagnostics(name, error.display())
        except MontySyntaxError as error:
            return [CheckError(name, None, error.display("msg"))]
        except MontyRuntimeError as error:
            frames = error.traceback()
            return [CheckError(name, frames[-1].line if frames else None, f"at load: {error.display('type-msg')}")]


async def _load(name: str, starting: Any) -> list[CheckError]:
    """Drive the load of a script to its end: imports are answered, anything else belongs into a function."""
    snapshot = await starting
    while not isinstance(snapshot, MontyComplete):
        function = str(getattr(snapshot, "function_name", ""))
        if getattr(snapshot, "is_os_function", False) and function.startswith("import"):
            snapshot = await snapshot.resume_auto()
            continue
        wanted = function or str(getattr(snapshot, "variable_name", "a host call"))
        return [CheckError(name, None, f"calls {wanted} while it is loaded; move it into setup, execute or teardown")]
    return []


def _diagnostics(name: str, text: str) -> list[CheckError]:
    """Split the checker's concise output, one complaint a line."""
    errors = []
    for line in text.splitlines():
        match = _LOCATION.match(line.strip())
        if match:
            errors.append(CheckError(name, int(match["line"]), match["message"]))
    return errors or [CheckError(name, None, text.strip()[:2000])]
