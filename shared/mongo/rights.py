"""What each service's user may do in the database: as little as its work needs.

Called by: shared/runtime/users.py, which makes the users; indexes.py. Pure. Sources: section 'Data' of ARCHITECTURE.md
(who owns which collection), https://www.mongodb.com/docs/manual/reference/privilege-actions/. Change also: whoever lets
a service write another collection adds it here (tests/integration/shared/test_rights.py, and the end-to-end tests,
whose services have these users).

Reading is wide but for what lets somebody in, because services explain to people what the others do; writing is narrow.
Nobody changes or removes a line of `audit`. Who makes an index could delete by it (TTL), so an index is made by who may
delete or insert there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.contracts.rights import SERVICES

BUCKETS = ("blobs.files", "blobs.chunks", "files.files", "files.chunks")
"""Of GridFS: evidence, and files of accounts."""
SCHEMA = ("createCollection", "createIndex", "dropIndex")
READERS: Mapping[str, frozenset[str]] = {
    "users": frozenset({"console"}),
    "sessions": frozenset({"console"}),
    "keys": frozenset({"console", "collector", "delivery"}),
    "signed_ids": frozenset({"collector", "delivery"}),
    "audit": frozenset({"console"}),
    "recipients": frozenset({"console", "alerts"}),
}
"""Collections that not everybody reads; who writes one reads it, too."""
_EVERYBODY = {"audit": "i", "commands": "iu", "events": "iu", "leases": "iud", "logs": "i"}
_WRITES: Mapping[str, Mapping[str, str]] = {
    "console": {
        "accounts": "iud", "partners": "iud", "keys": "iud", "users": "iud", "sessions": "iud", "workflows": "iud",
        "versions": "iud", "uploads": "iud", "upload_rows": "iud", "calendars": "iud", "portals": "iud",
        "documents": "iud", "jobs": "iud", "endpoints": "iud", "sources": "iud", "recipients": "iud",
        "silences": "iud", "rules": "iud", "legal_holds": "iu", "hold_gates": "iu", "erasures": "iu",
        "files": "iud", "file_marks": "iud", "files.files": "iud", "files.chunks": "iud",
    },
    "collector": {
        "tasks": "i", "batches": "iud", "idempotency": "iud", "source_log": "iud", "sources": "u", "rates": "iud",
        "signed_ids": "iud", "keys": "u", "files": "iud", "file_marks": "iud", "files.files": "iud",
        "files.chunks": "iud",
    },
    "scheduler": {
        "tasks": "iu", "runs": "iu", "workers": "iud", "usage": "iud", "slots": "iud", "turns": "iud",
        "circuits": "iud", "paces": "iud",
    },
    "executor": {
        "tasks": "u", "runs": "u", "steps": "iu", "late_replies": "i", "decisions": "iu", "paces_learned": "iud",
        "object_matches": "iud", "evidence": "iu", "evidence_links": "iu", "blobs.files": "iud", "blobs.chunks": "iud",
    },
    "delivery": {
        "tasks": "ud", "runs": "ud", "steps": "d", "late_replies": "d", "decisions": "ud", "deliveries": "iud",
        "results": "iud", "feeds": "iud", "feed_readers": "iud", "endpoints": "iud", "erasures": "u",
        "hold_gates": "iu", "evidence": "ud", "evidence_links": "ud", "blobs.files": "d", "blobs.chunks": "d",
        "tombstones": "iu", "logs": "id", "rates": "iud", "signed_ids": "iud", "keys": "u", "files": "ud",
        "file_marks": "iud", "files.files": "d", "files.chunks": "d", "archive_tasks": "iud", "archive_runs": "iud",
        "archive_steps": "iud", "archive_decisions": "iud", "archive_late_replies": "iud",
        "archive_deliveries": "iud", "archive_results": "iud",
    },
    "alerts": {"alerts": "iud", "notifications": "iud", "canaries": "iud", "rules": "i"},
}  # fmt: skip
_ACTIONS = {"i": "insert", "u": "update", "d": "remove"}


def writes(service: str) -> dict[str, str]:
    """What a service writes, by collection: i inserts, u updates, d deletes.

    Raises: KeyError for a service that there is not.
    """
    return {**_EVERYBODY, **_WRITES[service]}


def makes(service: str) -> frozenset[str]:
    """Collections whose indexes a service makes at its start: those that it inserts into."""
    return frozenset(name for name, letters in writes(service).items() if "i" in letters)


def database_privileges(service: str, db: str, collections: tuple[str, ...]) -> list[dict[str, Any]]:
    """The privileges of a service's role.

    db: the installation's database. collections: all that there are, but for BUCKETS. Raises: KeyError for a service
    that there is not.
    """
    mine, made = writes(service), makes(service)
    found: list[dict[str, Any]] = [
        {"resource": {"db": db, "collection": ""}, "actions": ["listCollections"]},
    ]
    for collection in sorted({*collections, *BUCKETS, *mine}):
        actions = [_ACTIONS[letter] for letter in mine.get(collection, "")]
        if (collection in mine and collection != "audit") or service in READERS.get(collection, frozenset(SERVICES)):
            actions.append("find")
        if collection in made:
            actions += SCHEMA
        found.append({"resource": {"db": db, "collection": collection}, "actions": [*actions, "listIndexes"]})
    if service == "delivery":  # who waits for results is woken by their stream of changes
        found.append({"resource": {"db": db, "collection": "results"}, "actions": ["changeStream"]})
    if service == "alerts":  # how far the log of operations reaches back
        found.append({"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]})
    return found


def server_roles(service: str) -> list[dict[str, str]]:
    """Roles beside its own: alerts looks at the replica set's health."""
    return [{"role": "clusterMonitor", "db": "admin"}] if service == "alerts" else []
