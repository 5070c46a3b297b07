"""Holiday calendars, which settings of workflows and schedules of robots name: /api/v1/calendars."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import page_of, problems
from services.console.api.models import PAGE_SIZE, AccountQuery, CursorQuery, Id, LimitQuery, NamePath, Page, View
from services.console.store import named as store
from services.console.store.named import CALENDARS
from shared.contracts.settings_file import Holiday, HolidayCalendar

router = APIRouter(tags=["calendars"], responses=problems())


class CalendarView(View):
    """A named set of dates of an account."""

    id: Id
    account: str = Field(description="Whose it is.")
    name: str = Field(description="What settings call it.")
    title: str = Field(default="", description="For people.")
    dates: list[Holiday] = Field(description="Which days are holidays, in order.")
    updated_at: datetime = Field(description="Last change.")
    updated_by: str | None = Field(default=None, description="Who.")


@router.get("/calendars")
async def list_calendars(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[CalendarView]:
    """The holiday calendars of your accounts."""
    views = [CalendarView.of(one) for one in await store.list_named(context, viewer, CALENDARS, account)]
    return page_of(response, views, [view.id for view in views], limit, cursor)


@router.get("/calendars/{account}/{name}")
async def get_calendar(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> CalendarView:
    """One holiday calendar."""
    return CalendarView.of(await store.get_named(context, viewer, CALENDARS, account, name))


@router.put("/calendars/{account}/{name}")
async def put_calendar(
    account: NamePath, name: NamePath, body: HolidayCalendar, viewer: Admin, context: ContextOf
) -> CalendarView:
    """Make a holiday calendar, or put it in place of what was there; it counts at once wherever it is named."""
    fields = body.model_dump(mode="json")
    fields["dates"].sort(key=lambda one: str(one["date"]))
    return CalendarView.of(await store.put_named(context, viewer, CALENDARS, account, name, fields))


@router.delete("/calendars/{account}/{name}", status_code=204, responses=problems(409))
async def delete_calendar(account: NamePath, name: NamePath, viewer: Admin, context: ContextOf) -> Response:
    """Remove a holiday calendar that no workflow and no robot names."""
    await store.delete_named(context, viewer, CALENDARS, account, name)
    return Response(status_code=204)
