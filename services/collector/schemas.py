"""The collector's answers and questions as OpenAPI models. They document; the checks are in shared/intake/items.py.

Called by: api.py. Change also: shared/domain/task_view.py (the same shape as `TaskView`), shared/intake/items.py (the
same limits).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.collector.core.body import ITEMS_MAX, WORKFLOW_LENGTH_MAX
from shared.domain.task_state import TaskState
from shared.intake.items import PRIORITY_MAX, REFERENCE_LENGTH_MAX


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Complaint(_Model):
    """One thing that is wrong with an item."""

    code: str = Field(description="MALFORMED, INVALID_INPUT, DEADLINE_PASSED or REFERENCE_CONFLICT.")
    message: str = Field(description="What is wrong, for people.")
    path: str = Field(description="JSON pointer into the item; empty for the item as a whole.")


class Accepted(_Model):
    """An item that is a task now, or was one already."""

    index: int = Field(ge=0, description="Its place in the push.")
    reference: str
    id: str = Field(description="The task's id.")
    duplicate: bool = Field(description="True: the task was there before; nothing was made.")


class Rejected(_Model):
    """An item that was refused."""

    index: int = Field(ge=0, description="Its place in the push.")
    reference: str | None = Field(description="None when the item has no readable one.")
    errors: list[Complaint]


class PushAnswer(_Model):
    """What became of each item of a push."""

    batch: str
    accepted: list[Accepted]
    rejected: list[Rejected]


class TaskError(_Model):
    """Why a task failed."""

    kind: str | None
    code: str | None
    message: str | None


class TaskEvidence(_Model):
    """Something a robot kept as proof."""

    id: str
    name: str | None
    media_type: str | None
    size_bytes: int | None
    sha256: str | None
    url: str


class TaskHold(_Model):
    """Why a task waits for a person."""

    reason: str | None
    text: str | None


class TaskView(_Model):
    """A task as its partner sees it."""

    id: str
    reference: str
    workflow: str
    batch: str | None
    state: TaskState
    priority: int | None = Field(description="Its own; none: the workflow's.")
    attempts: int
    created_at: str
    finished_at: str | None
    result: Any = Field(description="What the script returned; null until it succeeded.")
    error: TaskError | None
    evidence: list[TaskEvidence]
    hold: TaskHold | None
    why_waiting: str | None


class TaskList(_Model):
    """A page of tasks, newest first."""

    items: list[TaskView]
    next: str | None = Field(description="Cursor of the next page.")


class BatchView(_Model):
    """A push, and where its tasks stand."""

    id: str
    workflow: str
    created_at: str
    complete: bool = Field(description="False: the push broke off, or is still coming in; push it again.")
    count: int = Field(description="Items of the push that were looked at.")
    rejected: int = Field(description="Items that were refused.")
    duplicates: int = Field(description="Items that were tasks of an earlier push; they count there.")
    tasks: int = Field(description="The batch's own tasks: those that the push made.")
    finished: int = Field(description="Of them, how many have ended: succeeded, failed, cancelled or expired.")
    progress: float = Field(description="finished / tasks, from 0 to 1; 1 when it has none.")
    done: bool = Field(description="True: complete, and all of its tasks have ended.")
    states: dict[str, int] = Field(description="How many of the batch's own tasks are in each state.")


class BatchList(_Model):
    """A page of batches, newest first."""

    items: list[BatchView]
    next: str | None = Field(description="Cursor of the next page.")


class FileView(_Model):
    """A file that was handed in."""

    id: str = Field(description="May stand in an input, where the workflow's schema says `format: file`.")
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: str
    duplicate: bool = Field(description="True: the account had these bytes; this is that file, under its first name.")


_TIME = {"type": ["string", "null"], "format": "date-time", "description": "ISO 8601 with its zone."}
ITEM_SCHEMA: dict[str, Any] = {
    "title": "Task",
    "type": "object",
    "additionalProperties": False,
    "required": ["reference", "input"],
    "properties": {
        "reference": {
            "type": "string",
            "minLength": 1,
            "maxLength": REFERENCE_LENGTH_MAX,
            "description": "Yours; with the account and the workflow it names one task for ever.",
        },
        "input": {"type": "object", "description": "Checked against the workflow's input schema."},
        "priority": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": PRIORITY_MAX,
            "description": "None: the workflow's.",
        },
        "not_before": {**_TIME, "description": "It does not run before this time. ISO 8601 with its zone."},
        "deadline": {**_TIME, "description": "It expires when it has not begun by then. ISO 8601 with its zone."},
    },
}
PUSH_SCHEMA: dict[str, Any] = {
    "title": "Push",
    "type": "object",
    "additionalProperties": False,
    "required": ["workflow", "tasks"],
    "properties": {
        "workflow": {"type": "string", "minLength": 1, "maxLength": WORKFLOW_LENGTH_MAX, "description": "Its name."},
        "tasks": {
            "type": "array",
            "minItems": 1,
            "maxItems": ITEMS_MAX,
            "items": {
                "anyOf": [ITEM_SCHEMA, {"description": "Anything else is refused by itself, under `rejected`."}],
            },
        },
    },
}
"""The items are `anyOf` their shape and anything, because a bad item never makes the push fail."""


NDJSON_SCHEMA: dict[str, Any] = {
    "type": "string",
    "description": "One task per line, as JSON: {reference, input, priority?, not_before?, deadline?}. "
    "The workflow stands in the address. The `index` in the answer is the line's number, from 0.",
}
REPLAYED_HEADER: dict[str, Any] = {
    "description": "`true` when this is the answer that an earlier request with the same Idempotency-Key got.",
    "schema": {"type": "string", "enum": ["true"]},
}
BYTES_ANSWER: dict[str, Any] = {
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    "description": "The bytes.",
}
