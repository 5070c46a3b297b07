"""The data of the MongoDB double: collections, unique keys, transactions with snapshots and write conflicts.

Called by: database.py, after a call has travelled; everything here happens at one moment. Owns: what is stored. A
document is kept as BSON, so types come back as the driver brings them, and beside it as it is read for filters.

Transactions are the server's: the snapshot is taken at the first operation; who writes what another transaction has
written, or what was committed after its snapshot, gets a write conflict and is aborted; who writes outside of a
transaction waits for the transaction that holds the document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo.errors import DuplicateKeyError, OperationFailure

from shared.mongo.indexes import INDEXES
from tests.sim.changing import Update, change, new_document
from tests.sim.pipelines import aggregated
from tests.sim.values import MISSING, Document, Sort, compiled, copied, order, projected, same, sorted_by, values_at

CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)
TRANSIENT = {"errorLabels": ["TransientTransactionError"]}
UNIQUE: dict[str, list[tuple[list[list[str]], Mapping[str, Any] | None]]] = {}
for _index in INDEXES:
    if _index.unique:
        UNIQUE.setdefault(_index.collection, []).append(([key.split(".") for key, _ in _index.keys], _index.partial))

Observer = Callable[[str, Document | None, Document | None], None]
"""Told of every committed change: collection, document before (none: inserted), document after (none: deleted). Both
are the store's own and must not be changed."""


class Version:
    """One state of one document."""

    __slots__ = ("document", "raw")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.raw: bytes = bson.encode(document)
        self.document: Document = bson.decode(self.raw, CODEC)

    def copy(self) -> Document:
        """The document, for the caller to keep."""
        copy: Document = copied(self.document)
        return copy


class Locked(Exception):
    """A document is held by a transaction; try again when it has ended."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__("held by a transaction")
        self.transaction = transaction


@dataclass
class Transaction:
    """One transaction under way."""

    snapshot: dict[str, dict[Any, Version]] | None = None
    writes: dict[tuple[str, Any], Version | None] = field(default_factory=dict)
    over: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Changed:
    """What an update did."""

    matched: int
    modified: int
    upserted: Any = None
    before: Version | None = None
    after: Version | None = None


class Server:
    """What is stored."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[Any, Version]] = {}
        self.observers: list[Observer] = []
        self.sessions: dict[str, Any] = {}
        """Sessions of all clients, by id: any client may end them."""
        self._locks: dict[tuple[str, Any], Transaction] = {}

    # reading

    def documents(self, name: str) -> list[Document]:
        """What is committed in a collection; the store's own, not to be changed."""
        return [version.document for version in self.collections.get(name, {}).values()]

    def versions(self, name: str, query: Mapping[str, Any], transaction: Transaction | None) -> list[Version]:
        """Documents that match, in their natural order."""
        stored = self._seen(name, transaction)
        id = query.get("_id", MISSING)
        if not stored:
            return []
        candidates: Iterable[Version] = stored.values()
        if type(id) is str:
            if id not in stored:
                return []
            candidates = (stored[id],)
            if len(query) == 1:
                return list(candidates)
        elif not query:
            return list(candidates)
        test = compiled(query)
        return [version for version in candidates if test(version.document)]

    def find(
        self, name: str, query: Mapping[str, Any], *, fields: Mapping[str, Any] | None = None, sort: Sort | None = None,
        limit: int = 0, transaction: Transaction | None = None,
    ) -> list[Document]:  # fmt: skip
        """Copies of what matches."""
        found = self.versions(name, query, transaction)
        if sort and len(found) > 1:
            of = {id(version.document): version for version in found}
            found = [of[id(one)] for one in sorted_by([version.document for version in found], sort)]
        if limit:
            found = found[:limit]
        return [projected(version.document, fields) for version in found]

    def distinct(self, name: str, field: str, query: Mapping[str, Any], transaction: Transaction | None) -> list[Any]:
        """The different values of a field."""
        found: list[Any] = []
        for version in self.versions(name, query, transaction):
            for value in values_at(version.document, field.split(".")):
                for one in value if isinstance(value, list) else [value]:
                    if one is not MISSING and not any(same(one, other) for other in found):
                        found.append(one)
        return sorted(found, key=order)

    def aggregate(
        self, name: str, stages: Sequence[Mapping[str, Any]], transaction: Transaction | None
    ) -> list[Document]:
        """What a pipeline makes of a collection."""
        return aggregated([version.copy() for version in self._seen(name, transaction).values()], stages)

    # writing

    def insert(self, name: str, document: Mapping[str, Any], transaction: Transaction | None) -> None:
        """Insert a document. Raises: DuplicateKeyError, Locked, a write conflict."""
        version = Version(document)
        id = document["_id"]
        self._may_write(name, id, transaction)
        self._check_unique(name, version.document, transaction)
        self._write(name, id, version, transaction)

    def update(
        self, name: str, query: Mapping[str, Any], update: Update, *, many: bool = False, upsert: bool = False,
        sort: Sort | None = None, transaction: Transaction | None = None,
    ) -> Changed:  # fmt: skip
        """Change the first document that matches, or all of them."""
        found = self.versions(name, query, transaction)
        if sort and len(found) > 1:
            of = {id(version.document): version for version in found}
            found = [of[id(one)] for one in sorted_by([version.document for version in found], sort)]
        if not many:
            found = found[:1]
        if not found and upsert:
            fresh = new_document(query)
            change(fresh, update, query, inserted=True)
            self.insert(name, fresh, transaction)
            return Changed(0, 0, fresh["_id"])
        for version in found:
            self._may_write(name, version.document["_id"], transaction)
        modified, before, after = 0, None, None
        for version in found:
            document = version.copy()
            change(document, update, query)
            after = Version(document)
            before = version
            if after.raw != version.raw:
                modified += 1
                self._write(name, document["_id"], after, transaction)
        return Changed(len(found), modified, None, before, after)

    def delete(self, name: str, query: Mapping[str, Any], *, many: bool, transaction: Transaction | None) -> int:
        """Delete the first document that matches, or all of them."""
        found = self.versions(name, query, transaction)[: None if many else 1]
        for version in found:
            self._may_write(name, version.document["_id"], transaction)
        for version in found:
            self._write(name, version.document["_id"], None, transaction)
        return len(found)

    # transactions

    def commit(self, transaction: Transaction) -> None:
        """Make a transaction's writes everybody's. Raises: OperationFailure when it was aborted."""
        if transaction.over:
            raise no_transaction()
        self._end(transaction)
        for (name, id), version in transaction.writes.items():
            self._store(name, id, version)

    def abort(self, transaction: Transaction) -> None:
        """Forget a transaction."""
        if not transaction.over:
            self._end(transaction)

    def _end(self, transaction: Transaction) -> None:
        transaction.over = True
        for key in transaction.writes:
            self._locks.pop(key, None)
        transaction.ended.set()

    def _seen(self, name: str, transaction: Transaction | None) -> Mapping[Any, Version]:
        if transaction is None:
            return self.collections.get(name, {})
        if transaction.over:
            raise no_transaction()
        if transaction.snapshot is None:
            transaction.snapshot = {key: dict(one) for key, one in self.collections.items()}
        found = transaction.snapshot.get(name, {})
        mine = {id: version for (of, id), version in transaction.writes.items() if of == name}
        if not mine:
            return found
        return {id: version for id, version in {**found, **mine}.items() if version is not None}

    def _may_write(self, name: str, id: Any, transaction: Transaction | None) -> None:
        """Raises: Locked outside of transactions; in one a write conflict, which ends it."""
        holder = self._locks.get((name, id))
        if transaction is None:
            if holder is not None:
                raise Locked(holder)
            return
        self._seen(name, transaction)
        if holder is transaction:
            return
        assert transaction.snapshot is not None
        current = self.collections.get(name, {}).get(id)
        if holder is not None or current is not transaction.snapshot.get(name, {}).get(id):
            self.abort(transaction)
            raise OperationFailure("Write conflict during plan execution", 112, dict(TRANSIENT))

    def _write(self, name: str, id: Any, version: Version | None, transaction: Transaction | None) -> None:
        if transaction is None:
            self._store(name, id, version)
        else:
            self._locks[name, id] = transaction
            transaction.writes[name, id] = version

    def _store(self, name: str, id: Any, version: Version | None) -> None:
        stored = self.collections.setdefault(name, {})
        before = stored.get(id)
        if version is None:
            stored.pop(id, None)
        else:
            stored[id] = version
        for observer in self.observers:
            observer(name, before.document if before else None, version.document if version else None)

    def _check_unique(self, name: str, document: Document, transaction: Transaction | None) -> None:
        seen = self._seen(name, transaction)
        clash = document["_id"] in seen
        for paths, partial in UNIQUE.get(name, ()):
            if clash or (partial is not None and not compiled(partial)(document)):
                continue
            key = [order(next(values_at(document, path))) for path in paths]
            clash = any(
                [order(next(values_at(one.document, path))) for path in paths] == key
                for one in seen.values()
                if partial is None or compiled(partial)(one.document)
            )
        if clash:
            if transaction is not None:
                self.abort(transaction)
            raise DuplicateKeyError(f"E11000 duplicate key error collection: {name}", 11000)


def no_transaction() -> OperationFailure:
    """What the server says about a transaction that it has aborted."""
    return OperationFailure("Transaction has been aborted.", 251, dict(TRANSIENT))
