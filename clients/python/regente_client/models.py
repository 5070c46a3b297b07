"""What goes in and what comes back, as frozen dataclasses. Fields that a later server adds are kept in `raw`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
Json = Mapping[str, Any]


@dataclass(frozen=True)
class NewTask:
    """A task to push. The reference names it for ever: pushing it again makes nothing new."""

    reference: str
    input: Json
    priority: int | None = None
    """5 maximum to 0 low; none: the workflow's."""
    not_before: datetime | None = None
    deadline: datetime | None = None
    """It expires when it has not begun by then."""

    def as_json(self) -> dict[str, Any]:
        """As the service reads it. Raises: ValueError for a time without its zone."""
        more: dict[str, Any] = {} if self.priority is None else {"priority": self.priority}
        for name, at in (("not_before", self.not_before), ("deadline", self.deadline)):
            if at is not None:
                if at.tzinfo is None:
                    raise ValueError(f"{name} needs a time zone, such as datetime.now(timezone.utc)")
                more[name] = at.isoformat()
        return {"reference": self.reference, "input": dict(self.input), **more}


@dataclass(frozen=True)
class Accepted:
    """An item that is a task now, or was one already (`duplicate`)."""

    index: int
    reference: str
    id: str
    duplicate: bool


@dataclass(frozen=True)
class Rejected:
    """An item that was refused, with everything that is wrong with it: {code, message, path}."""

    index: int
    reference: str | None
    errors: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Pushed:
    """What became of each item; `index` counts over the whole push, however many requests it took."""

    batches: tuple[str, ...]
    accepted: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...]

    @property
    def ids(self) -> dict[str, str]:
        """Ids of the tasks by reference."""
        return {item.reference: item.id for item in self.accepted}

    @classmethod
    def of(cls, value: Json, offset: int = 0) -> Pushed:
        """An answer to one request; offset: index of its first item in the whole push."""
        accepted = tuple(
            Accepted(int(one["index"]) + offset, one["reference"], one["id"], bool(one["duplicate"]))
            for one in value["accepted"]
        )
        rejected = tuple(
            Rejected(int(one["index"]) + offset, one["reference"], tuple(dict(error) for error in one["errors"]))
            for one in value["rejected"]
        )
        return cls((value["batch"],), accepted, rejected)

    @classmethod
    def sum(cls, parts: list[Pushed]) -> Pushed:
        """Several answers as one."""
        return cls(
            tuple(batch for part in parts for batch in part.batches),
            tuple(item for part in parts for item in part.accepted),
            tuple(item for part in parts for item in part.rejected),
        )


@dataclass(frozen=True)
class TaskError:
    """Why a task failed. kind: business (the input) or system."""

    kind: str | None
    code: str | None
    message: str | None


@dataclass(frozen=True)
class Evidence:
    """Something a robot kept as proof; `Client.evidence` fetches its bytes."""

    id: str
    name: str | None
    media_type: str | None
    size_bytes: int | None
    sha256: str | None
    url: str | None


@dataclass(frozen=True)
class Hold:
    """Why a task waits for a person."""

    reason: str | None
    text: str | None


@dataclass(frozen=True)
class Task:
    """A task as its partner sees it."""

    id: str
    reference: str
    workflow: str
    state: str
    """queued, running, held, succeeded, failed, cancelled or expired."""
    batch: str | None = None
    priority: int | None = None
    attempts: int = 0
    created_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    error: TaskError | None = None
    evidence: tuple[Evidence, ...] = ()
    hold: Hold | None = None
    why_waiting: str | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)
    """The answer as it came."""

    @property
    def is_final(self) -> bool:
        """Whether nothing changes it any more."""
        return self.state in FINAL

    @classmethod
    def of(cls, value: Json) -> Task:
        """From JSON."""
        error, hold = value.get("error"), value.get("hold")
        return cls(
            id=value["id"],
            reference=value["reference"],
            workflow=value["workflow"],
            state=value["state"],
            batch=value.get("batch"),
            priority=value.get("priority"),
            attempts=int(value.get("attempts") or 0),
            created_at=moment(value.get("created_at")),
            finished_at=moment(value.get("finished_at")),
            result=value.get("result"),
            error=TaskError(error.get("kind"), error.get("code"), error.get("message")) if error else None,
            evidence=tuple(_evidence(one) for one in value.get("evidence") or ()),
            hold=Hold(hold.get("reason"), hold.get("text")) if hold else None,
            why_waiting=value.get("why_waiting"),
            raw=value,
        )


@dataclass(frozen=True)
class Batch:
    """One request of a push, and where its tasks stand."""

    id: str
    workflow: str
    created_at: datetime | None
    count: int
    rejected: int
    duplicates: int
    states: Mapping[str, int]

    @property
    def open(self) -> int:
        """How many of its tasks have not ended."""
        return sum(count for state, count in self.states.items() if state not in FINAL)

    @classmethod
    def of(cls, value: Json) -> Batch:
        """From JSON."""
        return cls(
            value["id"], value["workflow"], moment(value.get("created_at")), int(value["count"]),
            int(value["rejected"]), int(value.get("duplicates") or 0), dict(value["states"]),
        )  # fmt: skip


@dataclass(frozen=True)
class File:
    """An uploaded file; its id may stand in a task's input."""

    id: str
    name: str | None
    size_bytes: int | None
    media_type: str | None
    sha256: str | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, value: Json) -> File:
        """From JSON."""
        size, name = value.get("size_bytes"), value.get("name")
        return cls(value["id"], name, size, value.get("media_type"), value.get("sha256"), value)


@dataclass(frozen=True)
class Page:
    """A part of the results feed. Keep `after` once you have dealt with the items: there the next read goes on."""

    items: tuple[Task, ...]
    after: str | None

    def __iter__(self) -> Iterator[Task]:
        return iter(self.items)


@dataclass(frozen=True)
class Endpoint:
    """Where outcomes are posted. `secret` is only there in the answer to the call that made it."""

    name: str
    url: str | None
    events: tuple[str, ...] | None
    enabled: bool
    disabled_reason: str | None
    secret: str | None = field(default=None, repr=False)
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, value: Json) -> Endpoint:
        """From JSON."""
        events = value.get("events")
        return cls(
            value["name"], value.get("url"), None if events is None else tuple(events),
            bool(value.get("enabled", True)), value.get("disabled_reason"), value.get("secret"), value,
        )  # fmt: skip


def moment(text: str | None) -> datetime | None:
    """A time of the API (ISO 8601, UTC), for Pythons before 3.11 too."""
    if text is None:
        return None
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def _evidence(value: Json) -> Evidence:
    names = ("name", "media_type", "size_bytes", "sha256", "url")
    return Evidence(value["id"], *(value.get(name) for name in names))
