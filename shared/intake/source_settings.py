"""What a source of tasks is told: where it looks, when, and how what it finds becomes items.

Called by: console (checks what people write, before it is stored), collector (reads what is stored). Pure. Every error
names the field. Secrets stand here by the names of the account's documents only. Change also: docs/sources.md,
services/collector/README.md, section 'Data' of ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from shared.intake.expressions import Expression
from shared.intake.schedule import CRON_LENGTH_MAX, Cron, zone_of
from shared.intake.templates import check as check_template
from shared.intake.templates import names_in

DOCUMENT = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
URL = r"^https?://[^\s@\\]+$"
PRIORITY_MAX = 5
MEGABYTE = 1024 * 1024
REQUEST_PLACES = frozenset({"cursor", "now", "today"})
PAGE_ACK_PLACES = frozenset({"cursor", "references", "ids", "count", "now"})
TASK_ACK_PLACES = frozenset({"cursor", "reference", "id", "now"})
TIMER_PLACES = frozenset({"due", "due_date", "due_local"})


def _expression(text: str) -> str:
    Expression(text)
    return text


def _request_template(value: Any) -> Any:
    check_template(value, REQUEST_PLACES)
    return value


def _plain_header(name: str) -> str:
    if name.lower() in ("authorization", "proxy-authorization", "cookie"):
        raise ValueError(f"{name}: secrets stand in documents; name one with auth")
    if name.lower() in ("host", "content-length", "transfer-encoding", "accept-encoding", "connection"):
        raise ValueError(f"{name} is set by itself")
    return name


Document = Annotated[str, StringConstraints(pattern=DOCUMENT, max_length=200)]
Path = Annotated[str, AfterValidator(_expression)]
"""A JMESPath expression."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f$][^\x00-\x1f]*$")]
"""Of an input: any name that a JSON Schema may have, but one that the database reads as its own."""
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00-\x08\x0a-\x1f]*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,99}$")]
PlainHeader = Annotated[HeaderName, AfterValidator(_plain_header)]
Folder = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\\]+$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f]+$")]


class Settings(BaseModel):
    """Unknown fields are refused, so that a slip is not ignored."""

    model_config = ConfigDict(extra="forbid")


class Schedule(Settings):
    """When to look: every so often, or by the clock."""

    every_s: int | None = Field(default=None, ge=1, le=7 * 86400, description="Seconds from one look to the next.")
    cron: str | None = Field(
        default=None, max_length=CRON_LENGTH_MAX, description="Five fields, such as 0 9 * * mon-fri."
    )
    timezone: str = Field(default="UTC", max_length=60, description="Whose clock cron means.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.every_s is None) == (self.cron is None):
            raise ValueError("give every_s, or cron (with timezone)")
        zone = zone_of(self.timezone)
        if self.cron is not None:
            Cron(self.cron, zone)
        return self

    def clock(self) -> Cron | None:
        """The cron expression, if it goes by one."""
        return Cron(self.cron, zone_of(self.timezone)) if self.cron is not None else None


# HTTP


class BasicAuth(Settings):
    """User and password."""

    kind: Literal["basic"]
    login: Document = Field(description="A document of kind login.")


class BearerAuth(Settings):
    """A fixed token."""

    kind: Literal["bearer"]
    token: Document = Field(description="A document of kind text.")


class HeaderAuth(Settings):
    """A header of the partner's own."""

    kind: Literal["header"]
    name: HeaderName = Field(description="Such as X-Api-Key.")
    value: Document = Field(description="A document of kind text.")
    prefix: Text = Field(default="", description="Before the value, such as `Token `.")


class OAuthAuth(Settings):
    """OAuth 2, client credentials (RFC 6749, 4.4)."""

    kind: Literal["oauth2"]
    token_url: str = Field(pattern=URL, max_length=2000, description="Where tokens are asked for.")
    client: Document = Field(description="A document of kind login: client id and secret.")
    scope: Text = Field(default="", description="Scopes with spaces between.")
    audience: Text = Field(default="", description="For servers that want one.")
    client_in: Literal["header", "body"] = Field(
        default="header", description="Where the client's id and secret stand."
    )


Auth = Annotated[BasicAuth | BearerAuth | HeaderAuth | OAuthAuth, Field(discriminator="kind")]


class Request(Settings):
    """The request for a page. {cursor} is the kept cursor; a parameter with it is left out while there is none."""

    method: Literal["GET", "POST"] = "GET"
    url: str = Field(pattern=URL, max_length=2000, description="http:// or https://.")
    params: dict[Word, Text] = Field(default_factory=dict, max_length=50, description="Query parameters.")
    headers: dict[PlainHeader, Text] = Field(default_factory=dict, max_length=50, description="No secrets; see auth.")
    body: Any = Field(default=None, description="JSON to send, with POST.")
    timeout_s: float = Field(default=30, ge=1, le=120, description="For one page.")

    @model_validator(mode="after")
    def _places(self) -> Self:
        for value in (self.url, self.params, self.headers, self.body):
            _request_template(value)
        if "{" in self.url.split("/", 3)[2]:
            raise ValueError("url: the host can't have places for values")
        if self.body is not None and self.method == "GET":
            raise ValueError("body: only POST has one")
        return self


class LinkPaging(Settings):
    """The next page stands in the header Link (RFC 8288, rel=next)."""

    kind: Literal["link"]


class NextPaging(Settings):
    """The next page's address stands in the answer."""

    kind: Literal["next"]
    expression: Path = Field(description="Gives the address, or null at the end.")


class CursorPaging(Settings):
    """A value in the answer leads to the next page."""

    kind: Literal["cursor"]
    expression: Path = Field(description="Gives the value, or null at the end.")
    param: Word = Field(description="The query parameter that takes it.")


class PagePaging(Settings):
    """Pages have numbers."""

    kind: Literal["page"]
    param: Word = Field(default="page", description="The query parameter for the number.")
    first: int = Field(default=1, ge=0, le=1, description="The first page's number.")
    size: int | None = Field(
        default=None, ge=1, le=10_000, description="A shorter page is the last; none: an empty one."
    )
    size_param: Word | None = Field(default=None, description="The query parameter for the size.")


class OffsetPaging(Settings):
    """Pages begin at an offset."""

    kind: Literal["offset"]
    param: Word = Field(default="offset", description="The query parameter for the offset.")
    size: int = Field(ge=1, le=10_000, description="Items of a page; a shorter one is the last.")
    size_param: Word | None = Field(default="limit", description="The query parameter for the size.")


Paging = Annotated[LinkPaging | NextPaging | CursorPaging | PagePaging | OffsetPaging, Field(discriminator="kind")]


class Cursor(Settings):
    """What is kept from one look to the next, so that it asks only for what is new."""

    expression: Path = Field(description="What to keep, of a page; null keeps what there is.")
    start: Any = Field(default=None, description="Before the first page.")
    keep: Literal["last", "largest"] = Field(
        default="last", description="Of several pages: the last page's, or the largest number or text."
    )
    moves: Literal["page", "look"] = Field(
        default="look", description="page: after each page (the oldest come first); look: after the last page."
    )


class ItemMapping(Settings):
    """How one element of the answer becomes an item."""

    reference: Path
    input: dict[FieldName, Path] | Path = Field(
        description="An expression that gives an object, or one for each field."
    )
    priority: Path | None = None
    not_before: Path | None = None
    deadline: Path | None = None


class Acknowledgement(Settings):
    """A call after the tasks are stored; it may come twice, never before."""

    per: Literal["page", "task"] = "page"
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: str = Field(pattern=URL, max_length=2000, description="With {reference}, {id}; or {references}, {cursor}.")
    headers: dict[PlainHeader, Text] = Field(default_factory=dict, max_length=50)
    body: Any = Field(default=None, description="JSON with the same places.")
    refused: bool = Field(default=False, description="Also for items that were refused.")

    @model_validator(mode="after")
    def _places(self) -> Self:
        known = PAGE_ACK_PLACES if self.per == "page" else TASK_ACK_PLACES
        for value in (self.url, self.headers, self.body):
            check_template(value, known)
        if "{" in self.url.split("/", 3)[2]:
            raise ValueError("url: the host can't have places for values")
        return self


class PollSettings(Settings):
    """A partner's HTTP API that is asked for tasks."""

    kind: Literal["poll"]
    schedule: Schedule
    request: Request
    auth: Auth | None = None
    items: Path = Field(default="@", description="Gives the list of a page's items.")
    item: ItemMapping
    paging: Paging | None = None
    cursor: Cursor | None = None
    acknowledge: Acknowledgement | None = None
    pages_max: int = Field(default=50, ge=1, le=1000, description="Pages of one look; the next look goes on there.")
    page_bytes_max: int = Field(default=5 * MEGABYTE, ge=1024, le=16 * MEGABYTE, description="Size of one page.")

    @model_validator(mode="after")
    def _cursor_is_there(self) -> Self:
        wanted = self.request
        used = "cursor" in names_in([wanted.url, wanted.params, wanted.headers, wanted.body])
        if self.cursor is None and used:
            raise ValueError("request: {cursor} is used, but cursor says not what to keep")
        if self.cursor is not None and not used:
            raise ValueError("cursor: it is kept, but the request has no {cursor}, so each look would begin anew")
        return self


# files


class Columns(Settings):
    """Which columns make an item; without this: reference, priority, not_before and deadline by their names, and every
    other column a field of the input."""

    reference: str | None = Field(default=None, max_length=200, description="Column; none: file and row make one.")
    input: dict[FieldName, Annotated[str, StringConstraints(max_length=200)]] = Field(
        min_length=1, max_length=500, description="Field of the input: column."
    )
    priority: str | None = Field(default=None, max_length=200)
    not_before: str | None = Field(default=None, max_length=200)
    deadline: str | None = Field(default=None, max_length=200)


class FileSettings(Settings):
    """Which files are taken, and what becomes of them."""

    pattern: Pattern = Field(default="*", description="Names to take, such as *.csv.")
    ignore: list[Pattern] = Field(
        default=[".*", "~*", "*.tmp", "*.part", "*.filepart", "*.crdownload"],
        max_length=50,
        description="Unfinished ones.",
    )
    settle_s: float = Field(default=2, ge=0.2, le=60, description="A file is finished when it stood unchanged so long.")
    size_bytes_max: int = Field(default=16 * MEGABYTE, ge=1, le=64 * MEGABYTE)
    rows_max: int = Field(default=20_000, ge=1, le=100_000)
    files_max: int = Field(default=20, ge=1, le=200, description="Files of one look.")
    columns: Columns | None = None
    taken: Pattern = Field(default="taken", description="Where taken files go, beneath the folder.")
    refused: Pattern = Field(default="refused", description="Where refused ones go, with a report.")

    @model_validator(mode="after")
    def _two_places(self) -> Self:
        if self.taken == self.refused or {self.taken, self.refused} & {".", ".."}:
            raise ValueError("taken and refused: names of two folders")
        return self


class FolderSettings(FileSettings):
    """A folder on the collector's machine, beneath the account's own."""

    kind: Literal["folder"]
    schedule: Schedule
    folder: Folder = Field(description="Beneath <REGENTE_SOURCES_FOLDER>/<account>/.")

    @model_validator(mode="after")
    def _beneath(self) -> Self:
        if self.folder.startswith("/") or ".." in self.folder.split("/"):
            raise ValueError("folder: a path beneath the account's folder, without ..")
        return self


class SftpSettings(FileSettings):
    """A folder on a partner's SFTP server."""

    kind: Literal["sftp"]
    schedule: Schedule
    host: str = Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")
    port: int = Field(default=22, ge=1, le=65535)
    host_keys: list[
        Annotated[str, StringConstraints(max_length=5000, pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/=]+( .*)?$")]
    ] = Field(min_length=1, max_length=10, description="The server's public keys, such as `ssh-ed25519 AAAA...`.")
    login: Document = Field(description="A document of kind login: user, and password (or the key's passphrase).")
    key: Document | None = Field(default=None, description="A document of kind text: the private key (OpenSSH or PEM).")
    folder: Folder = Field(default=".", description="On the server.")
    timeout_s: float = Field(default=60, ge=1, le=600, description="For each step: connection, list, file.")


# timers


class TimerSettings(Settings):
    """A cron expression that makes tasks."""

    kind: Literal["timer"]
    schedule: Schedule
    input: dict[str, Any] = Field(default_factory=dict, description="With {due}, {due_local}, {due_date}.")
    priority: int | None = Field(default=None, ge=0, le=PRIORITY_MAX)
    deadline_s: int | None = Field(default=None, ge=1, le=366 * 86400, description="After its time.")
    missed: Literal["catch_up", "skip"] = Field(
        default="skip", description="catch_up: one task for the newest of the times that were missed."
    )
    late_s: int = Field(default=300, ge=1, le=7 * 86400, description="A time that is older is missed.")

    @model_validator(mode="after")
    def _clock(self) -> Self:
        if self.schedule.cron is None:
            raise ValueError("schedule: a timer goes by cron (with timezone)")
        check_template(self.input, TIMER_PLACES)
        return self


AnySettings = PollSettings | FolderSettings | SftpSettings | TimerSettings
SourceSettings = Annotated[AnySettings, Field(discriminator="kind")]
Kind = Literal["poll", "folder", "sftp", "timer"]
_ADAPTER: TypeAdapter[AnySettings] = TypeAdapter(SourceSettings)


class BadSettings(ValueError):
    """Settings that are wrong, each with the field's path."""

    def __init__(self, complaints: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{one['path'] or 'settings'}: {one['message']}" for one in complaints[:5]))
        self.complaints = complaints
        """{message, path}: path is a JSON pointer."""


def read_settings(value: Any) -> AnySettings:
    """Settings as people write them, or as they are stored.

    Raises: BadSettings.
    """
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        found: dict[str, str] = {}
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            message = one["msg"].removeprefix("Value error, ")
            path = "".join(f"/{part}" for part in _path(one["loc"], value))
            if path not in found or one["type"] == "value_error":  # of a union: what says more
                found[path] = message[:300]
        raise BadSettings([{"message": message, "path": path} for path, message in found.items()]) from None


def _path(parts: tuple[int | str, ...], value: Any) -> list[str]:
    """The place in the input, without the names that the models' unions put between."""
    place: list[str] = []
    for n, part in enumerate(parts):
        listed = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if listed or (isinstance(value, Mapping) and part in value):
            value = value[part]
        elif n + 1 < len(parts) or "[" in str(part) or not isinstance(value, Mapping):
            continue
        place.append(str(part))
    return place
