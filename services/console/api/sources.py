"""Where tasks come from by themselves: /api/v1/sources. Pollers, folders, SFTP servers, timers.

Operators switch sources on and off, have them looked at, and try stored ones; writing settings (and trying those that
aren't stored) is an administrator's, because settings say where the account's secrets are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import AfterValidator, ConfigDict, Field

from services.console.api.access import Admin, ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    TEXT_LENGTH_MAX,
    AccountQuery,
    Action,
    Body,
    CursorQuery,
    Id,
    IdPath,
    JsonObject,
    LimitQuery,
    Name,
    NamePath,
    Page,
    View,
    check_json,
)
from services.console.core.access import Role
from services.console.store import sources as store
from shared.errors import ErrorCode
from shared.intake.source_settings import AnySettings, BadSettings, read_settings
from shared.runtime.http import Problem

router = APIRouter(tags=["sources"], responses=problems())

EXAMPLE: Any = {
    "title": "Orders of the ERP",
    "workflow": "tax-certificate",
    "settings": {
        "kind": "poll",
        "schedule": {"every_s": 60},
        "request": {"url": "https://erp.example/orders", "params": {"since": "{cursor}"}},
        "auth": {"kind": "bearer", "token": "erp/token"},
        "items": "orders",
        "item": {"reference": "id", "input": {"registration": "customer.registration"}},
        "cursor": {"expression": "last"},
    },
}


class SourceChange(Body):
    """A source as it shall be."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    title: str = Field(default="", max_length=200, description="For people.")
    workflow: Name
    enabled: bool = Field(default=True, description="Whether it is looked at by its schedule.")
    settings: JsonObject = Field(description="kind (poll, folder, sftp, timer), and what docs/sources.md says of it.")


class SourcePatch(Body):
    """What changes; the rest stays."""

    title: str | None = Field(default=None, max_length=200, description="For people.")
    workflow: Name | None = None
    enabled: bool | None = Field(default=None, description="Whether it is looked at by its schedule.")
    settings: JsonObject | None = Field(default=None, description="Fields of the settings, each as a whole.")
    cursor: Annotated[str | int | float | bool | None, AfterValidator(check_json)] = Field(
        default=None, description="Where the next look begins; null: at the beginning. By itself only."
    )


class TryRequest(Body):
    """Settings to try; without them: those that are stored."""

    workflow: Name | None = None
    settings: JsonObject | None = Field(default=None, description="As they would be stored.")


class Trouble(View):
    """A failure."""

    at: datetime | None = Field(default=None, description="When.")
    since: datetime | None = Field(default=None, description="Since when.")
    reason: str = Field(description="Why, and what to do.")


class Unacknowledged(View):
    """An acknowledgement that the partner refused for good."""

    at: datetime = Field(description="When.")
    status: int = Field(description="The partner's answer.")
    values: dict[str, Any] = Field(description="What it would have told; of long lists the first 20.")


class Counters(View):
    """Since it was made."""

    looks: int = Field(default=0, description="How often it was looked at.")
    failed: int = Field(default=0, description="How many of these failed.")
    came: int = Field(default=0, description="Items that came.")
    taken: int = Field(default=0, description="New tasks.")
    duplicates: int = Field(default=0, description="That were tasks before.")
    refused: int = Field(default=0, description="That did not fit.")


class SourceView(View):
    """A source, and how it is doing."""

    id: Id
    account: str = Field(description="Whose it is.")
    name: str = Field(description="Its name in the account.")
    title: str = Field(default="", description="For people.")
    kind: Literal["poll", "folder", "sftp", "timer"] = Field(description="What it is.")
    workflow: str = Field(description="The workflow of its tasks.")
    enabled: bool = Field(description="Whether it is looked at by its schedule.")
    settings: dict[str, Any] = Field(description="See docs/sources.md; secrets by the names of documents.")
    cursor: Any = Field(default=None, description="What is kept from look to look.")
    fired: datetime | None = Field(default=None, description="Of a timer: up to here all times are done with.")
    counters: Counters = Field(default_factory=Counters, description="Since it was made.")
    unacknowledged: list[Unacknowledged] = Field(
        default_factory=list, description="Acknowledgements that are not repeated: the newest, 100 at most."
    )
    failures: int = Field(default=0, description="Failed looks in a row.")
    down: Trouble | None = Field(default=None, description="It failed again and again; somebody was told.")
    last_look_at: datetime | None = Field(default=None, description="The end of the last look.")
    last_success_at: datetime | None = Field(default=None, description="The end of the last one that went well.")
    last_failure: Trouble | None = Field(default=None, description="The last one that failed.")
    next_at: datetime | None = Field(default=None, description="The next look.")
    looking: bool = Field(default=False, description="A collector has it in hand.")
    updated_at: datetime = Field(description="Last change.")
    updated_by: str | None = Field(default=None, description="Who.")


class LookView(View):
    """One look."""

    id: Id
    at: datetime = Field(description="When it began.")
    duration_s: float = Field(description="How long it took.")
    outcome: Literal["ok", "failed"] = Field(description="How it ended.")
    reason: str | None = Field(default=None, description="Why it failed.")
    came: int = Field(default=0, description="Items that came.")
    taken: int = Field(default=0, description="New tasks.")
    duplicates: int = Field(default=0, description="That were tasks before.")
    refused: int = Field(default=0, description="That did not fit.")
    refusals: list[dict[str, Any]] = Field(default_factory=list, description="The first 50: reference, place, errors.")
    pages: int = Field(default=0, description="Pages of an answer.")
    acknowledged: int = Field(default=0, description="Acknowledgements that the partner took.")
    files: list[dict[str, Any]] = Field(default_factory=list, description="Files: name, where it went, why, counts.")
    batches: list[str] = Field(default_factory=list, description="Batches of the new tasks.")
    missed: dict[str, Any] | None = Field(default=None, description="Times of a timer: count, times, caught_up.")
    words: list[str] = Field(default_factory=list, description="More that people should know.")
    by: str | None = Field(default=None, description="The collector.")
    asked_by: str | None = Field(default=None, description="Who wanted it, if somebody did.")


class TryView(View):
    """A trial, and what it brought."""

    command: str = Field(description="Id of the request.")
    state: str = Field(description="done; or pending: ask again.")
    report: dict[str, Any] | None = Field(
        description="items (the first 20), came, would_be_taken, refused, refusals, pages, files, more, times, words."
    )


@router.get("/sources")
async def list_sources(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[SourceView]:
    """The sources of your accounts, the last changed first."""
    listed = await store.list_sources(context, viewer, account, limit, cursor)
    return page(response, [_view(one) for one in listed.items], listed.next)


@router.get("/sources/{account}/{name}")
async def get_source(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> SourceView:
    """One source."""
    return _view(await store.get_source(context, viewer, account, name))


@router.put("/sources/{account}/{name}")
async def put_source(
    account: NamePath, name: NamePath, body: SourceChange, viewer: Admin, context: ContextOf
) -> SourceView:
    """Make a source, or change it. Its cursor and counters stay, unless it becomes one of another kind."""
    settings = _settings(body.settings)
    stored = await store.put_source(
        context, viewer, account, name, settings, title=body.title, workflow=body.workflow, enabled=body.enabled
    )
    return _view(stored)


@router.patch("/sources/{account}/{name}", responses=problems(409))
async def patch_source(
    account: NamePath, name: NamePath, body: SourcePatch, viewer: Admin, context: ContextOf
) -> SourceView:
    """Change some of it; or only its cursor."""
    given = body.model_fields_set
    if "cursor" in given:
        if len(given) > 1:
            raise Problem(422, ErrorCode.INVALID_INPUT, "change the cursor by itself")
        return _view(await store.set_cursor(context, viewer, account, name, body.cursor))
    old = await store.get_source(context, viewer, account, name)
    settings = _settings({**old["settings"], **(body.settings or {})})
    stored = await store.put_source(
        context, viewer, account, name, settings,
        title=old.get("title", "") if body.title is None else body.title,
        workflow=body.workflow or old["workflow"],
        enabled=old["enabled"] if body.enabled is None else body.enabled,
    )  # fmt: skip
    return _view(stored)


@router.delete("/sources/{account}/{name}", status_code=204)
async def delete_source(account: NamePath, name: NamePath, viewer: Admin, context: ContextOf) -> Response:
    """Remove a source. Its tasks and its log stay."""
    await store.delete_source(context, viewer, account, name)
    return Response(status_code=204)


@router.post("/sources/{account}/{name}/enable")
async def enable_source(account: NamePath, name: NamePath, viewer: Operator, context: ContextOf) -> SourceView:
    """Switch it on: it is looked at now, and by its schedule. Times that a timer missed while it was off stay away."""
    return _view(await store.switch_source(context, viewer, account, name, on=True))


@router.post("/sources/{account}/{name}/disable")
async def disable_source(account: NamePath, name: NamePath, viewer: Operator, context: ContextOf) -> SourceView:
    """Switch it off. A look under way ends at its next step; what it has taken stays taken."""
    return _view(await store.switch_source(context, viewer, account, name, on=False))


@router.post(
    "/sources/{account}/{name}/run",
    responses={202: {"model": Action, "description": "The look is not over."}, **problems(409)},
)
async def run_source(
    account: NamePath, name: NamePath, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Look at it now, also when it is switched off: 200 with what came, 202 while it goes on, 409 when it failed."""
    return action(response, await store.run_source(context, viewer, account, name))


@router.get("/sources/{account}/{name}/log")
async def source_log(
    account: NamePath,
    name: NamePath,
    viewer: Reader,
    context: ContextOf,
    response: Response,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[LookView]:
    """Its looks, newest first: 90 days of those that brought something or failed, 3 days of the others."""
    listed = await store.source_log(context, viewer, account, name, limit, cursor)
    return page(response, [LookView.of(one) for one in listed.items], listed.next)


@router.post(
    "/sources/{account}/{name}/try",
    responses={202: {"model": TryView, "description": "It is not over."}, **problems(409)},
)
async def try_source(
    account: NamePath, name: NamePath, body: TryRequest, viewer: Operator, context: ContextOf, response: Response
) -> TryView:
    """See what a look would bring: fetched and mapped, but nothing stored, moved or acknowledged."""
    settings = None
    if body.settings is not None:
        if not viewer.may(Role.ADMIN):
            raise Problem(403, "trying settings that aren't stored needs the role admin: they say where secrets go")
        settings = _settings(body.settings)
        if body.workflow is None:
            raise Problem(422, ErrorCode.INVALID_INPUT, "settings are tried for a workflow; name it")
    return _tried(response, await store.try_source(context, viewer, account, name, settings, body.workflow))


@router.get("/sources/{account}/{name}/try/{command}", responses=problems(409))
async def get_trial(
    account: NamePath, name: NamePath, command: IdPath, viewer: Reader, context: ContextOf, response: Response
) -> TryView:
    """A trial that was asked for before."""
    return _tried(response, await store.get_trial(context, viewer, account, name, command))


def _settings(value: dict[str, Any]) -> AnySettings:
    """Checked settings. Raises: Problem 422 that names each field."""
    try:
        return read_settings(value)
    except BadSettings as error:
        errors = [{"message": one["message"], "path": f"/settings{one['path']}"} for one in error.complaints]
        first = errors[0]
        raise Problem(
            422, ErrorCode.INVALID_INPUT, f"{first['path']}: {first['message']}"[:TEXT_LENGTH_MAX], errors=errors
        ) from error


def _view(document: dict[str, Any]) -> SourceView:
    return SourceView.of(document, looking="holder" in document)


def _tried(response: Response, tried: store.Tried) -> TryView:
    """200 with the report, 202 while there is none yet. Raises: Problem 409 when it came to nothing."""
    asked = tried.asked
    if asked.state == "refused":
        raise Problem(409, asked.reason or "refused", code="CONFLICT", command=asked.command)
    response.status_code = 200 if asked.state == "done" else 202
    return TryView(command=asked.command, state=asked.state, report=dict(tried.report) if tried.report else None)
