"""Arguments of an instruction: handles as the journal keeps them, values as the robot gets them.

Called by: services/executor/phase.py (checked), secrets.py (the rest). Secrets exist in clear only in what `resolve`
returns, which goes to who performs the instruction and nowhere else.

A handle is looked for where an argument is one, and among the headers of http.request; nowhere deeper, so that a
value which merely looks like a handle (in a task's input, in an answer from outside) does not become a secret that is
sent somewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.executor.core.plain import NotPlain, plain
from shared.contracts.catalogue import BadCall
from shared.domain.objects import selectors_in
from shared.script.modules import OBJECT, SECRET, TOTP

ARGS_SIZE_BYTES_MAX = 256 * 1024
"""Of a robot's instruction."""
SERVER_ARGS_SIZE_BYTES_MAX = 3 * 1024 * 1024
"""Of a server's: a body of 1 MB may be longer in JSON; each instruction has its own limits, too."""
WITHIN = frozenset({"headers"})
"""Arguments whose values may be handles."""
LOGIN = "$login"
"""Marks a user and a password, which only http.request takes, as `auth`."""


def secret_names(args: Mapping[str, Any], kind: str = SECRET) -> set[str]:
    """Names of the documents that the arguments refer to; `kind` is TOTP for those that make one-time codes."""
    values = [*args.values()]
    for name in WITHIN:
        inner = args.get(name)
        values += inner.values() if isinstance(inner, dict) else []
    return {value[kind] for value in values if isinstance(value, dict) and set(value) == {kind}}


def checked(args: Mapping[str, Any], size_bytes_max: int = ARGS_SIZE_BYTES_MAX) -> dict[str, Any]:
    """The arguments, if they are plain JSON of a bearable size.

    Raises: BadCall.
    """
    try:
        found: dict[str, Any] = plain(dict(args), size_bytes_max=size_bytes_max)
    except NotPlain as error:
        raise BadCall(f"arguments must be plain values of a bearable size: {error}") from error
    return found


def resolve(
    args: Mapping[str, Any],
    objects: Mapping[str, Mapping[str, Any]],
    secrets: Mapping[str, Any],
    codes: Mapping[str, str] | None = None,
    environment: str | None = None,
) -> dict[str, Any]:
    """The arguments with objects as selectors, secrets as values and one-time codes as digits.

    `objects`: the version's objects by name; `secrets`: what each document holds, by name; `codes`: by name of the
    document that makes them; `environment`: the run's, which never changes, so an instruction that is sent again is the
    same one. Raises: BadCall for an object that the version does not have.
    """
    known = codes or {}
    resolved = {name: _value(value, objects, secrets, known, environment) for name, value in args.items()}
    for name in WITHIN & resolved.keys():
        if isinstance(resolved[name], dict):
            inner = resolved[name].items()
            resolved[name] = {key: _value(value, {}, secrets, known, environment) for key, value in inner}
    return resolved


def _value(
    value: Any, objects: Mapping[str, Mapping[str, Any]], secrets: Mapping[str, Any], codes: Mapping[str, str],
    environment: str | None,
) -> Any:  # fmt: skip
    if isinstance(value, dict) and set(value) == {OBJECT}:
        name = value[OBJECT]
        if name not in objects:
            raise BadCall(f"objects.yaml has no {name}")
        return {OBJECT: name, "selectors": selectors_in(objects[name], environment)}
    if isinstance(value, dict) and set(value) == {SECRET}:
        return secrets[value[SECRET]]
    if isinstance(value, dict) and set(value) == {TOTP}:
        return codes[value[TOTP]]
    return value


def secret_value(content: Mapping[str, Any]) -> Any:
    """What a document's content becomes in an instruction's arguments.

    Raises: BadCall for a document that makes one-time codes: its secret never leaves the server.
    """
    kind = content.get("kind")
    if kind == "certificate":
        keys = ("pkcs12", "passphrase", "origins")
        return {"$certificate": {key: content[key] for key in keys}}
    if kind == "login":
        return {LOGIN: {key: content[key] for key in ("user", "password")}}
    if kind == "totp":
        raise BadCall("the document makes one-time codes; ask for one with secrets.totp(name)")
    return content["text"]
