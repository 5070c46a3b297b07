"""Every index of every collection, as data, and what brings the database in line with it.

Called by: every service at its start (`apply_indexes`; running it at once from several does no harm), tests. Survives a
crash: an index build is the server's; the next start goes on. Change also: section 'Data' of ARCHITECTURE.md, and the
queries in the stores that need the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from pymongo import IndexModel
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import is_transient
from shared.obs.logs import get_logger

_UP, _DOWN = 1, -1
_DAY_S = 24 * 3600
_TRIES_MAX = 5
_ARCHIVED = {"wiredTiger": {"configString": "block_compressor=zstd"}}
"""Collections of the archive: smaller, and slower to read."""
_CONFLICTS = frozenset({85, 86})
"""IndexOptionsConflict, IndexKeySpecsConflict: an index of this name or these keys is defined otherwise."""
_GONE = frozenset({26, 27})
"""NamespaceNotFound, IndexNotFound: somebody else dropped it first."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class Index:
    """One index as it should be."""

    collection: str
    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    partial: Mapping[str, Any] | None = field(default=None, hash=False)
    """Only documents that match are in it; a query uses it only when it says so too."""
    expire_after_s: int | None = None
    """TTL: seconds after the time in the (single) key at which the document goes."""
    name: str = ""

    @property
    def named(self) -> str:
        """Its name: the given one, or the keys joined."""
        return self.name or "_".join(f"{key}_{way}" for key, way in self.keys).replace(".", "_")

    def model(self) -> IndexModel:
        """As the driver wants it."""
        more: dict[str, Any] = {}
        if self.unique:
            more["unique"] = True
        if self.partial is not None:
            more["partialFilterExpression"] = dict(self.partial)
        if self.expire_after_s is not None:
            more["expireAfterSeconds"] = self.expire_after_s
        return IndexModel(list(self.keys), name=self.named, **more)

    def matches(self, found: Mapping[str, Any]) -> bool:
        """Whether the server's description of an index is this one."""
        return (
            [(key, int(way)) for key, way in found["key"].items()] == list(self.keys)
            and bool(found.get("unique", False)) == self.unique
            and found.get("partialFilterExpression") == (None if self.partial is None else dict(self.partial))
            and found.get("expireAfterSeconds") == self.expire_after_s
        )


def _pending(collection: str) -> Index:
    """What a receiver sweeps: documents handed over and not yet taken."""
    return Index(
        collection,
        (("pending.to", _UP), ("pending.due_at", _UP)),
        partial={"pending.to": {"$exists": True}},
        name="pending",
    )


_TASKS = (
    Index("tasks", (("account", _UP), ("workflow", _UP), ("reference", _UP)), unique=True, name="reference"),
    Index(
        "tasks",
        (("queue.list", _UP), ("queue.rank", _UP), ("_id", _UP), ("queue.key", _UP)),
        partial={"queue.list": {"$exists": True}},
        name="queue",
    ),
    Index(
        "tasks",
        (("queue.list", _UP), ("queue.key", _UP), ("queue.rank", _UP), ("_id", _UP)),
        partial={"queue.list": {"$exists": True}},
        name="group",
    ),
    Index(
        "tasks", (("not_before", _UP),), partial={"state": "queued", "not_before": {"$exists": True}}, name="delayed"
    ),
    Index("tasks", (("deadline", _UP),), partial={"state": "queued", "deadline": {"$exists": True}}, name="deadline"),
    _pending("tasks"),
    Index("tasks", (("batch", _UP), ("state", _UP)), name="batch"),
    Index("tasks", (("account", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("tasks", (("account", _UP), ("state", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account_state"),
    Index("tasks", (("account", _UP), ("workflow", _UP), ("state", _UP)), name="workflow_state"),
    Index("tasks", (("account", _UP), ("state", _UP), ("_id", _UP)), name="account_state_id"),
    Index("tasks", (("files", _UP),), partial={"files": {"$exists": True}}, name="files"),
    Index("tasks", (("held_by.run", _UP),), partial={"held_by.run": {"$exists": True}}, name="held_by"),
    Index("tasks", (("created_at", _DOWN), ("_id", _DOWN)), name="newest"),
    Index("tasks", (("once.worker", _UP), ("state", _UP)), partial={"once.worker": {"$exists": True}}, name="once"),
)

_RUNS = (
    # not partial: the planner would not use it for `state in (some live states)`; the live ones are few in any case
    Index("runs", (("state", _UP), ("executor", _UP)), name="live"),
    _pending("runs"),
    Index("runs", (("account", _UP), ("opened_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("runs", (("worker", _UP), ("opened_at", _DOWN), ("_id", _DOWN)), name="worker"),
    Index("runs", (("state", _UP), ("progressed_at", _UP)), name="progress"),
    Index("runs", (("tasks.task", _UP),), name="task"),
    Index("runs", (("locks", _UP), ("state", _UP)), name="locks"),
    Index("runs", (("wants_robot", _UP), ("opened_at", _UP)), partial={"wants_robot": True}, name="wants_robot"),
    Index("runs", (("warm", _UP), ("state", _UP)), partial={"warm": True}, name="warm"),
    Index("runs", (("trim", _UP),), partial={"trim": True}, name="trim"),
    Index("runs", (("opened_at", _DOWN), ("_id", _DOWN)), name="newest"),
    Index("runs", (("wait.due_at", _UP),), partial={"state": "waiting"}, name="waiting"),
    Index("runs", (("state", _UP), ("abort.at", _UP)), name="abort"),
)

_OTHERS = (
    Index("decisions", (("woken", _UP), ("state", _UP)), partial={"woken": False}, name="woken"),
    _pending("decisions"),
    Index("partners", (("account", _UP), ("name", _UP)), unique=True, name="name"),
    Index("keys", (("account", _UP), ("partner", _UP)), name="partner"),
    Index("sessions", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("sessions", (("user", _UP),), name="user"),
    Index("workflows", (("account", _UP), ("name", _UP)), unique=True, name="name"),
    Index("versions", (("scenarios.worker", _UP),), partial={"scenarios.worker": False}, name="without_robot"),
    Index(
        "versions",
        (("account", _UP), ("workflow", _UP), ("number", _DOWN)),
        unique=True,
        partial={"number": {"$exists": True}},
        name="number",
    ),
    Index("versions", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("uploads", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("uploads", (("account", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("upload_rows", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("batches", (("account", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("tombstones", (("task", _UP),), name="task"),
    Index("tombstones", (("batch", _UP),), name="batch"),
    Index("files", (("touched_at", _UP),), name="touched"),
    Index("files", (("account", _UP), ("size_bytes", _UP)), name="room"),
    Index("files", (("bytes", _UP),), name="bytes"),
    Index("files", (("unwanted.look_at", _UP),), partial={"unwanted.look_at": {"$exists": True}}, name="unwanted"),
    Index("file_marks", (("at", _UP),), name="at"),
    Index("rates", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("signed_ids", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("idempotency", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("late_replies", (("run", _UP), ("seq", _UP)), name="step"),
    Index("workers", (("addresses", _UP),), name="addresses"),
    Index(
        "workers",
        (("authorisation", _UP), ("connected", _UP), ("status", _UP), ("mode", _UP), ("run", _UP)),
        name="free",
    ),
    Index("workers", (("run", _UP),), partial={"run": {"$exists": True}}, name="run"),
    Index("commands", (("to", _UP), ("due_at", _UP)), partial={"state": "pending"}, name="pending"),
    Index("commands", (("target", _UP), ("created_at", _DOWN)), name="target"),
    Index("commands", (("ended_at", _UP),), expire_after_s=30 * _DAY_S, name="ttl"),
    Index("evidence_links", (("task", _UP), ("at", _UP)), name="task"),
    Index("evidence_links", (("run", _UP), ("seq", _UP)), name="run"),
    Index("evidence_links", (("sha256", _UP),), name="content"),
    Index("endpoints", (("account", _UP), ("name", _UP)), unique=True, name="name"),
    Index("deliveries", (("lane", _UP), ("next_at", _UP)), partial={"lane": {"$exists": True}}, name="lane"),
    Index("deliveries", (("claimed_by", _UP),), partial={"claimed_by": {"$gt": ""}}, name="claimed"),
    Index(
        "deliveries",
        (("account", _UP), ("endpoint", _UP), ("state", _UP), ("created_at", _DOWN), ("_id", _DOWN)),
        name="endpoint",
    ),
    Index(
        "deliveries", (("account", _UP), ("state", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account_state"
    ),
    Index("endpoints", (("circuit.tell.id", _UP),), partial={"circuit.tell.id": {"$exists": True}}, name="tell"),
    Index("endpoints", (("circuit.open", _UP),), partial={"circuit.open": True}, name="open"),
    Index("deliveries", (("account", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("deliveries", (("state", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="state"),
    Index("deliveries", (("task", _UP),), name="task"),
    Index(
        "deliveries",
        (("collect", _UP), ("account", _UP), ("endpoint", _UP), ("created_at", _UP), ("_id", _UP)),
        partial={"collect": True},
        name="collect",
    ),
    Index("deliveries", (("file", _UP),), partial={"file": {"$type": "string"}}, name="file"),
    Index("deliveries", (("told", _UP),), partial={"told": {"$exists": True}}, name="told"),
    Index("results", (("account", _UP), ("n", _UP)), unique=True, partial={"n": {"$exists": True}}, name="feed"),
    Index("results", (("account", _UP), ("at", _UP), ("_id", _UP)), name="at"),
    Index("feed_readers", (("account", _UP), ("_id", _UP)), name="account"),
    Index("documents", (("account", _UP), ("name", _UP)), unique=True, name="name"),
    Index("logs", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("logs", (("at", _DOWN), ("_id", _DOWN)), name="at"),
    Index(
        "logs", (("worker", _UP), ("at", _DOWN), ("_id", _DOWN)), partial={"worker": {"$exists": True}}, name="worker"
    ),
    Index("logs", (("run", _UP), ("at", _DOWN), ("_id", _DOWN)), partial={"run": {"$exists": True}}, name="run"),
    Index("logs", (("task", _UP), ("at", _DOWN), ("_id", _DOWN)), partial={"task": {"$exists": True}}, name="task"),
    Index("logs", (("service", _UP), ("at", _DOWN), ("_id", _DOWN)), name="service"),
    Index("calendars", (("account", _UP), ("name", _UP)), unique=True, name="name"),
    Index("portals", (("account", _UP), ("name", _UP)), unique=True, name="name"),
    Index("jobs", (("account", _UP), ("updated_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("sources", (("next_at", _UP),), partial={"next_at": {"$exists": True}}, name="due"),
    Index("sources", (("wanted.command", _UP),), partial={"wanted.command": {"$exists": True}}, name="wanted"),
    Index("sources", (("holder.by", _UP),), partial={"holder.by": {"$exists": True}}, name="held"),
    Index("sources", (("account", _UP), ("updated_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("sources", (("updated_at", _DOWN), ("_id", _DOWN)), name="newest"),
    Index("source_log", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("source_log", (("source", _UP), ("at", _DOWN), ("_id", _DOWN)), name="source"),
    Index("source_log", (("command", _UP),), partial={"command": {"$type": "string"}}, name="command"),
    Index("usage", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("usage", (("account", _UP), ("workflow", _UP)), name="workflow"),
    Index("object_matches", (("account", _UP), ("workflow", _UP)), name="workflow"),
    Index("object_matches", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("circuits", (("account", _UP), ("state", _UP)), name="account"),
    Index("paces_learned", (("key", _UP), ("place", _UP), ("rev", _UP)), name="place"),
    Index("leases", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("paces_learned", (("seen_at", _UP),), expire_after_s=90 * _DAY_S, name="ttl"),
    Index("events", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    _pending("events"),
    Index("events", (("at", _DOWN), ("_id", _DOWN)), name="at"),
    Index("events", (("account", _UP), ("at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("events", (("target", _UP), ("at", _DOWN)), name="target"),
    Index("decisions", (("state", _UP), ("due_at", _UP)), name="due"),
    Index("decisions", (("account", _UP), ("state", _UP), ("asked_at", _DOWN), ("_id", _DOWN)), name="account_state"),
    Index("decisions", (("account", _UP), ("asked_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("decisions", (("run", _UP),), name="run"),
    Index("decisions", (("task", _UP),), name="task"),
    Index("audit", (("at", _DOWN), ("_id", _DOWN)), name="at"),
    Index("audit", (("target", _UP), ("at", _DOWN)), name="target"),
    Index("audit", (("account", _UP), ("at", _DOWN)), name="account"),
)

_ENDED = {"finished_at": {"$type": "date"}}
_KEEPING = (
    Index("tasks", (("account", _UP), ("finished_at", _UP), ("_id", _UP)), partial=_ENDED, name="ended"),
    Index("tasks", (("erased.erasure", _UP),), partial={"erased.erasure": {"$exists": True}}, name="erased"),
    Index("runs", (("account", _UP), ("finished_at", _UP), ("_id", _UP)), partial=_ENDED, name="ended"),
    Index("evidence_links", (("account", _UP), ("at", _UP), ("_id", _UP)), partial={"dropped": False}, name="age"),
    Index("evidence", (("unused_since", _UP),), partial={"unused_since": {"$type": "date"}}, name="unused"),
    Index("results", (("task", _UP),), name="task"),
    Index("archive_tasks", (("account", _UP), ("archived_at", _UP), ("_id", _UP)), name="age"),
    Index("archive_tasks", (("account", _UP), ("workflow", _UP), ("reference", _UP)), name="reference"),
    Index("archive_tasks", (("doomed_at", _UP),), partial={"doomed_at": {"$type": "date"}}, name="doomed"),
    Index("archive_tasks", (("files", _UP),), partial={"files": {"$exists": True}}, name="files"),
    Index("archive_tasks", (("erased.erasure", _UP),), partial={"erased.erasure": {"$exists": True}}, name="erased"),
    Index("archive_runs", (("account", _UP), ("archived_at", _UP), ("_id", _UP)), name="age"),
    Index("archive_runs", (("tasks.task", _UP),), name="task"),
    Index("archive_deliveries", (("task", _UP),), name="task"),
    Index("archive_results", (("task", _UP),), name="task"),
    Index("archive_decisions", (("task", _UP),), name="task"),
    Index("archive_decisions", (("run", _UP),), name="run"),
    Index("archive_late_replies", (("run", _UP), ("seq", _UP)), name="step"),
    Index("legal_holds", (("account", _UP), ("lifted_at", _UP)), name="standing"),
    Index("legal_holds", (("at", _DOWN), ("_id", _DOWN)), name="newest"),
    Index("erasures", (("state", _UP), ("created_at", _UP)), name="state"),
    Index("erasures", (("account", _UP), ("created_at", _DOWN), ("_id", _DOWN)), name="account"),
)

_ALERTS = (
    Index("alerts", (("key", _UP),), unique=True, partial={"open": True}, name="open"),
    Index(
        "alerts", (("notify.to", _UP), ("notify.due_at", _UP)), partial={"notify.to": {"$exists": True}}, name="notify"
    ),
    Index("alerts", (("since", _DOWN), ("_id", _DOWN)), name="newest"),
    Index("alerts", (("account", _UP), ("since", _DOWN), ("_id", _DOWN)), name="account"),
    Index("alerts", (("state", _UP), ("since", _DOWN), ("_id", _DOWN)), name="state"),
    Index("alerts", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("alerts", (("kind", _UP), ("resolved_at", _UP)), partial={"resolved_at": {"$type": "date"}}, name="over"),
    Index("workers", (("quarantine.until", _UP),), partial={"quarantine.until": {"$exists": True}}, name="quarantine"),
    Index("endpoints", (("enabled", _UP),), partial={"enabled": False}, name="disabled"),
    Index("sources", (("down.since", _UP),), partial={"down.since": {"$exists": True}}, name="down"),
    Index("circuits", (("state", _UP),), partial={"state": "open"}, name="open"),
    Index("rules", (("account", _UP), ("_id", _UP)), name="account"),
    Index("recipients", (("account", _UP), ("_id", _UP)), name="account"),
    Index("silences", (("ends_at", _UP),), name="ends"),
    Index("silences", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index("notifications", (("lane", _UP), ("n", _DOWN)), unique=True, name="lane"),
    Index("notifications", (("state", _UP), ("due_at", _UP)), partial={"live": True}, name="live"),
    Index("notifications", (("items.alert", _UP),), name="alert"),
    Index("notifications", (("account", _UP), ("opened_at", _DOWN), ("_id", _DOWN)), name="account"),
    Index("notifications", (("opened_at", _DOWN), ("_id", _DOWN)), name="newest"),
    Index("notifications", (("claim.by", _UP),), partial={"live": True}, name="claimed"),
    Index("notifications", (("expires_at", _UP),), expire_after_s=0, name="ttl"),
    Index(
        "tasks",
        (("account", _UP), ("workflow", _UP), ("finished_at", _DOWN), ("state", _UP)),
        partial=_ENDED,
        name="rate",
    ),
    Index("tasks", (("hold.at", _UP),), partial={"state": "held", "hold.reason": "in_doubt"}, name="in_doubt"),
    Index(
        "batches",
        (("account", _UP), ("workflow", _UP), ("created_at", _DOWN)),
        name="workflow",
    ),
)

INDEXES: tuple[Index, ...] = (*_TASKS, *_RUNS, *_OTHERS, *_KEEPING, *_ALERTS)
COLLECTIONS = tuple(
    sorted(
        {index.collection for index in INDEXES}
        | {
            "accounts",
            "canaries",
            "users",
            "steps",
            "archive_steps",
            "evidence",
            "feeds",
            "hold_gates",
            "leases",
            "paces",
            "slots",
            "turns",
        }
    )
)
"""All collections; they are made at start, because older servers can't make one inside a transaction under load."""


async def apply_indexes(mongo: Mongo, only: frozenset[str] | None = None) -> None:
    """Make what is missing, rebuild what is defined otherwise, leave the rest alone.

    only: collections to see to; none: all. Indexes of other names are nobody's business here and stay.
    Raises: TemporaryError when the database is away.
    """
    try:
        await _make_collections(mongo, only)
        for collection, wanted in groupby(sorted(INDEXES, key=_by_collection), key=_by_collection):
            if only is not None and collection not in only:
                continue
            await _apply(mongo, collection, list(wanted))
    except PyMongoError as error:
        if is_transient(error):
            raise TemporaryError(f"indexes can't be made: {first_line(error)}") from error
        raise


def _by_collection(index: Index) -> str:
    return index.collection


async def _make_collections(mongo: Mongo, only: frozenset[str] | None) -> None:
    there = set(await mongo.db.list_collection_names())
    for name in COLLECTIONS:
        if name not in there and (only is None or name in only):
            try:
                if name.startswith("archive_"):
                    await mongo.db.create_collection(name, storageEngine=_ARCHIVED)
                else:
                    await mongo.db.create_collection(name)
            except (CollectionInvalid, OperationFailure) as error:  # another service made it at the same time
                if isinstance(error, OperationFailure) and error.code != 48:
                    raise


async def _apply(mongo: Mongo, collection: str, wanted: Sequence[Index]) -> None:
    for attempt in range(_TRIES_MAX):
        found = {index["name"]: index async for index in await mongo[collection].list_indexes()}
        missing = [index for index in wanted if not (index.named in found and index.matches(found[index.named]))]
        if not missing:
            return
        for index in missing:
            if index.named in found:
                await _drop(mongo, collection, index.named)
        try:
            await mongo[collection].create_indexes([index.model() for index in missing])
            return
        except OperationFailure as error:
            if error.code not in _CONFLICTS or attempt + 1 == _TRIES_MAX:
                raise
            await _drop_same_keys(mongo, collection, missing)


async def _drop_same_keys(mongo: Mongo, collection: str, wanted: Sequence[Index]) -> None:
    """The same keys under another name stand in the way: a renamed index."""
    async for found in await mongo[collection].list_indexes():
        for index in wanted:
            if found["name"] != index.named and list(found["key"].items()) == list(index.keys):
                await _drop(mongo, collection, found["name"])


async def _drop(mongo: Mongo, collection: str, name: str) -> None:
    _log.info("index is rebuilt", collection=collection, index=name)
    try:
        await mongo[collection].drop_index(name)
    except OperationFailure as error:
        if error.code not in _GONE:
            raise
