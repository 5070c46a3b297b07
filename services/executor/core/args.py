"""Arguments of an instruction: handles as the journal keeps them, values as the robot gets them.

Called by: services/executor/runner.py. Secrets exist in clear only in what `resolve` returns, which goes into the
message to the robot and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.contracts.catalogue import BadCall
from shared.script.modules import OBJECT, SECRET

ARGS_SIZE_BYTES_MAX = 256 * 1024


def secret_names(args: Mapping[str, Any]) -> set[str]:
    """Names of the documents that the arguments refer to."""
    return {value[SECRET] for value in args.values() if isinstance(value, dict) and set(value) == {SECRET}}


def checked(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, if they are plain JSON of a bearable size.

    Raises: BadCall.
    """
    try:
        text = json.dumps(args, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadCall(f"arguments must be plain values: {error}") from error
    if len(text) > ARGS_SIZE_BYTES_MAX:
        raise BadCall(f"arguments of {len(text)} bytes; at most {ARGS_SIZE_BYTES_MAX} are sent")
    plain: dict[str, Any] = json.loads(text)
    return plain


def resolve(
    args: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]], secrets: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments with objects as selectors and secrets as values.

    `objects`: the version's objects by name; `secrets`: what each document holds, by name.
    Raises: BadCall for an object that the version does not have.
    """
    return {name: _value(value, objects, secrets) for name, value in args.items()}


def _value(value: Any, objects: Mapping[str, Mapping[str, Any]], secrets: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and set(value) == {OBJECT}:
        name = value[OBJECT]
        if name not in objects:
            raise BadCall(f"objects.yaml has no {name}")
        return {OBJECT: name, "selectors": list(objects[name]["selectors"])}
    if isinstance(value, dict) and set(value) == {SECRET}:
        return secrets[value[SECRET]]
    return value


def secret_value(content: Mapping[str, Any]) -> Any:
    """What a document's content becomes in an instruction's arguments."""
    if content.get("kind") == "certificate":
        keys = ("pkcs12", "passphrase", "origins")
        return {"$certificate": {key: content[key] for key in keys}}
    return content["text"]
