"""Tasks by hand: POST /api/v1/tasks, and files of them: /api/v1/uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Header, Query, Response, UploadFile
from pydantic import Field, TypeAdapter, ValidationError

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    NAME,
    PAGE_SIZE,
    PAGE_SIZE_MAX,
    AccountQuery,
    Action,
    Body,
    CursorQuery,
    Id,
    IdPath,
    JsonObject,
    LimitQuery,
    Moment,
    Name,
    Page,
    View,
)
from services.console.core.preview import Verdict
from services.console.store import by_hand
from services.console.store import uploads as store
from services.console.store.commands import Asked
from shared.errors import ErrorCode
from shared.intake.source_settings import Columns
from shared.runtime.http import Problem, decode_cursor, encode_cursor

router = APIRouter(tags=["tasks"], responses=problems())
ROWS_SHOWN = 50
MAPPING_LENGTH_MAX = 100_000
_COLUMNS: TypeAdapter[Columns] = TypeAdapter(Columns)


class TaskToAdd(Body):
    """A task, as in a partner's push; the reference may be left out."""

    reference: str | None = Field(
        default=None,
        max_length=200,
        description="With account and workflow it names one task for ever; null: one is made.",
    )
    input: JsonObject = Field(description="Checked against the workflow's input schema.")
    priority: int | None = Field(default=None, ge=0, le=5, description="Null: the workflow's.")
    not_before: Moment | None = Field(default=None, description="It does not run before.")
    deadline: Moment | None = Field(default=None, description="It expires when it has not begun by then.")

    def item(self) -> dict[str, Any]:
        """As it stands in a push."""
        return self.model_dump(mode="json", exclude_none=True)


class TasksToAdd(Body):
    """Tasks to hand in: all of them, or none when one is refused."""

    account: Name
    workflow: str = Field(min_length=1, max_length=63, description="What is to be done.")
    tasks: list[TaskToAdd] = Field(
        min_length=1, max_length=by_hand.TASKS_MAX, description="In the order in which they shall run."
    )


class AddedTask(View):
    """What became of one item."""

    index: int = Field(description="Its place in the request.")
    reference: str = Field(description="Its reference.")
    id: str = Field(description="Id of its task.")
    duplicate: bool = Field(description="Whether the task was there before.")


class Handed(Action):
    """A request for tasks. What came of it is null while it is pending."""

    batch: str = Field(description="Their batch; it is there once the request is done.")
    accepted: int | None = Field(default=None, description="How many are tasks now, or were before.")
    duplicates: int | None = Field(default=None, description="How many of these were tasks before.")
    rejected: int | None = Field(default=None, description="How many the collector refused.")
    tasks: list[AddedTask] = Field(default_factory=list, description="The first 200.")
    refused: list[dict[str, Any]] = Field(
        default_factory=list, description="The first 200: {index, reference, errors}."
    )


class UploadRow(View):
    """What would become of a row."""

    row: int = Field(description="Its line or row in the file, as people count.")
    reference: str | None = Field(
        default=None, description="Its reference; one that was made begins like all of the file's."
    )
    verdict: Verdict = Field(description="new: a task; duplicate: nothing, it is one; refused: nothing.")
    task: str | None = Field(default=None, description="Of a duplicate: the task that is there.")
    errors: list[dict[str, Any]] = Field(default_factory=list, description="Why it is refused: {code, message, path}.")
    shown: str = Field(default="", description="Its input, shortened.")


class UploadView(View):
    """A file that was read."""

    id: Id
    account: str = Field(description="Whose tasks.")
    workflow: str = Field(description="What is to be done.")
    version: int = Field(description="The workflow's version that it was checked against.")
    name: str = Field(description="The file's name.")
    by: str = Field(description="Who uploaded it.")
    columns: list[str] = Field(description="The file's columns.")
    mapping: dict[str, Any] | None = Field(
        default=None, description="Which column is which field; null: by their names."
    )
    counts: dict[str, int] = Field(description="{rows, new, duplicate, refused}.")
    faults: list[dict[str, Any]] = Field(description="What rows are refused for, the most frequent first.")
    state: str = Field(default="previewed", description="previewed, or confirmed.")
    confirmed_by: str | None = Field(default=None, description="Who handed it in.")
    created_at: datetime = Field(description="When it came.")
    expires_at: datetime = Field(description="When it is forgotten.")
    rows: list[UploadRow] = Field(default_factory=list, description="The first 50; all of them: /uploads/{id}/rows.")
    handed: Handed | None = Field(default=None, description="What came of it, once it is confirmed.")


@router.post("/tasks", status_code=200, responses=problems(409))
async def add_tasks(
    body: TasksToAdd,
    viewer: Operator,
    context: ContextOf,
    response: Response,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=200, description="The same key is the same request.")
    ] = None,
) -> Handed:
    """Hand tasks in by hand: all of them, or none when one is refused (422 with `errors`)."""
    items = [one.item() for one in body.tasks]
    added = await by_hand.add_tasks(context, viewer, body.account, body.workflow, items, idempotency_key)
    return _handed(response, added.asked, added.batch)


@router.post("/uploads", status_code=201, responses=problems(409))
async def upload_file(
    viewer: Operator,
    context: ContextOf,
    file: Annotated[UploadFile, File(description="CSV, XLSX, JSON or NDJSON, up to 16 MB and 10,000 rows.")],
    account: Annotated[str, Form(pattern=NAME, description="Whose tasks.")],
    workflow: Annotated[str, Form(min_length=1, max_length=63, description="What is to be done.")],
    mapping: Annotated[
        str | None,
        Form(
            max_length=MAPPING_LENGTH_MAX,
            description="JSON {reference?, input: {field: column}, priority?, not_before?, deadline?}; else by name.",
        ),
    ] = None,
    again: Annotated[bool, Form(description="New tasks, although the same file came before.")] = False,
) -> UploadView:
    """Read a file and say what would become of each row. Nothing is handed in before it is confirmed."""
    columns = _columns(mapping)
    data = await file.read(store.FILE_BYTES_MAX + 1)
    read = store.File(file.filename or "", data)
    made = await store.create_upload(context, viewer, account, workflow, read, columns, again=again)
    return await _view(context, viewer, {**made, "request": None})


@router.get("/uploads")
async def list_uploads(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[UploadView]:
    """Uploads that are kept, newest first; without their rows."""
    listed = await store.list_uploads(context, viewer, account, limit, cursor)
    views = [UploadView.of(one, state="confirmed" if one["confirmed_at"] else "previewed") for one in listed.items]
    return page(response, views, listed.next)


@router.get("/uploads/{upload}")
async def get_upload(upload: IdPath, viewer: Reader, context: ContextOf) -> UploadView:
    """One upload, its first rows, and what came of it."""
    return await _view(context, viewer, await store.get_upload(context, viewer, upload))


@router.get("/uploads/{upload}/rows")
async def list_rows(
    upload: IdPath,
    viewer: Reader,
    context: ContextOf,
    response: Response,
    verdict: Annotated[Verdict | None, Query(description="Only those.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description="Items per page.")] = ROWS_SHOWN,
    cursor: CursorQuery = None,
) -> Page[UploadRow]:
    """What would become of the rows, in the file's order."""
    after = _place(cursor)
    rows = await store.upload_rows(context, viewer, upload, after=after, limit=limit + 1, verdict=verdict)
    following = str(encode_cursor(rows[limit - 1][0] + 1)) if len(rows) > limit else None
    return page(response, [UploadRow.of(row) for _place, row in rows[:limit]], following)


@router.post("/uploads/{upload}/confirm", responses=problems(409))
async def confirm_upload(upload: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Handed:
    """Hand in the rows that are not refused. Twice is once."""
    asked = await store.confirm_upload(context, viewer, upload)
    return _handed(response, asked, _batch(asked.command))


@router.delete("/uploads/{upload}", status_code=204, responses=problems(409))
async def discard_upload(upload: IdPath, viewer: Operator, context: ContextOf) -> None:
    """Forget an upload that is not confirmed."""
    await store.discard_upload(context, viewer, upload)


async def _view(context: ContextOf, viewer: Reader, document: dict[str, Any]) -> UploadView:
    id, request = document["_id"], document["request"]
    rows = await store.upload_rows(context, viewer, id, after=0, limit=ROWS_SHOWN, verdict=None)
    handed = None
    if request is not None:
        asked = Asked(request["_id"], request["state"], request.get("reason"), request.get("progress"))
        handed = _told(asked, _batch(asked.command))
    shown = [UploadRow.of(row) for _place, row in rows]
    return UploadView.of(document, rows=shown, state="confirmed" if request else "previewed", handed=handed)


def _handed(response: Response, asked: Asked, batch: str) -> Handed:
    action(response, asked)
    return _told(asked, batch)


def _told(asked: Asked, batch: str) -> Handed:
    progress = {name: value for name, value in (asked.progress or {}).items() if name not in ("batch", "at")}
    head = {"command": asked.command, "state": asked.state, "reason": asked.reason, "batch": batch}
    return Handed.model_validate({**head, **progress})


def _batch(command: str) -> str:
    return f"batch_{command.removeprefix('cmd_')}"


def _columns(text: str | None) -> Columns | None:
    """The mapping that a form holds as JSON.

    Raises: Problem 422.
    """
    if not text:
        return None
    try:
        return _COLUMNS.validate_json(text)
    except ValidationError as error:
        errors = [
            {"path": "/mapping/" + "/".join(str(part) for part in one["loc"]), "message": one["msg"]}
            for one in error.errors(include_url=False, include_context=False)
        ]
        raise Problem(422, ErrorCode.INVALID_INPUT, "the mapping of columns can't be used", errors=errors) from error


def _place(cursor: str | None) -> int:
    if cursor is None:
        return 0
    value = decode_cursor(cursor)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**6:
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is not one of this list")
    return value
