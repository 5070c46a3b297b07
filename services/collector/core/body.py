"""Reading the body of a push: JSON as RFC 8259 has it, then the frame around the items.

Called by: intake.py, api.py. The items themselves are left alone here: a bad one is refused by itself later. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

WORKFLOW_LENGTH_MAX = 63
ITEMS_MAX = 10_000
NDJSON_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
JSON_TYPES = frozenset({"application/json", "text/json"})


class Unreadable(Exception):
    """The body is no JSON (400)."""


class Misfit(Exception):
    """The body is JSON and no push (422); `path` is a JSON pointer."""

    def __init__(self, message: str, path: str, *, too_many: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.too_many = too_many


@dataclass(frozen=True)
class PushBody:
    """A push whose frame is right."""

    workflow: str
    tasks: list[Any]


def read_push(data: bytes) -> PushBody:
    """Parse the body of a push.

    Raises: Unreadable, Misfit.
    """
    body = parse_json(data)
    if not isinstance(body, dict):
        raise Misfit("the body is a JSON object with workflow and tasks", "")
    unknown = [name for name in body if name not in ("workflow", "tasks")]
    if unknown:
        name = unknown[0][:100].encode("utf-8", "replace").decode()
        raise Misfit(f"unknown field {name!r}; a push has workflow and tasks", "")
    workflow, tasks = body.get("workflow"), body.get("tasks")
    if not isinstance(workflow, str) or not 1 <= len(workflow) <= WORKFLOW_LENGTH_MAX or not _is_unicode(workflow):
        raise Misfit(f"workflow is the workflow's name, 1 to {WORKFLOW_LENGTH_MAX} characters", "/workflow")
    if not isinstance(tasks, list) or not tasks:
        raise Misfit("tasks is a list of at least one task", "/tasks")
    if len(tasks) > ITEMS_MAX:
        raise Misfit(f"{len(tasks)} tasks in one push; at most {ITEMS_MAX} are taken", "/tasks", too_many=True)
    return PushBody(workflow, tasks)


def media_kind(content_type: str | None) -> str | None:
    """What the header Content-Type says a push is: `json`, `ndjson`, or none when it is neither."""
    if content_type is None or not content_type.strip():
        return "json"
    media_type = content_type.split(";")[0].strip().lower()
    if media_type in NDJSON_TYPES:
        return "ndjson"
    known = media_type in JSON_TYPES or (media_type.startswith("application/") and media_type.endswith("+json"))
    return "json" if known else None


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON can escape and the database can't store."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def parse_json(data: bytes, what: str = "the body") -> Any:
    """Strict JSON: UTF-8, no NaN or Infinity. what: names it in complaints.

    Raises: Unreadable.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError as error:
        raise Unreadable(f"{what} is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{what} is not UTF-8") from error
    except ValueError as error:
        raise Unreadable(f"{what} is no JSON: {error}"[:300]) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
