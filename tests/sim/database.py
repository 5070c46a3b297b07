"""The MongoDB double as a service sees it: collections, cursors, sessions, GridFS; each call travels and may fail.

Called by: the production code under simulation, in place of shared.mongo.Mongo. Every call is a fault point, named
`<process> <collection>.<operation>`: the call may fail before it takes effect or after it did, and its process may die
before or after it. tests/sim/test_database.py runs the same calls on this and on the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from bson import ObjectId
from pymongo import InsertOne, ReturnDocument, UpdateOne
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, OperationFailure

from tests.sim.changing import Update
from tests.sim.server import TRANSIENT, Changed, Locked, Server, Transaction, no_transaction
from tests.sim.travel import Travel
from tests.sim.values import Document, Sort, Unsupported, projected

T = TypeVar("T")
TRANSACTION_S_MAX = 10.0
"""The server ends a transaction whose client says nothing more after this time."""


class Mongo:
    """As shared.mongo.Mongo, for one process."""

    def __init__(self, server: Server, travel: Travel) -> None:
        self.server = server
        self.travel = travel
        self.client = SimpleNamespace(
            start_session=self._session, admin=SimpleNamespace(command=self._command), close=self.close
        )
        self.db = SimpleNamespace(write_concern=None, mongo=self)

    def __getitem__(self, name: str) -> Collection:
        """The collection of that name."""
        return Collection(self, name)

    async def ping(self) -> None:
        """Ask for a sign of life."""
        await self._command("ping")

    async def close(self) -> None:
        """Nothing to close."""

    def _session(self) -> Session:
        return Session(self)

    async def _command(self, command: str | Mapping[str, Any]) -> dict[str, Any]:
        await self.travel.out("admin", "command", write=False)
        if isinstance(command, Mapping):
            for one in command["killSessions"]:
                session = self.server.sessions.get(one["id"])
                if session is not None and session.transaction is not None:
                    self.server.abort(session.transaction)
        await self.travel.back("admin", "command", write=False)
        return {"ok": 1.0}


class Session:
    """As AsyncClientSession."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        sessions = mongo.server.sessions
        self.session_id = {"id": f"session-{len(sessions)}"}
        sessions[self.session_id["id"]] = self
        self.transaction: Transaction | None = None

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end_session()

    async def end_session(self) -> None:
        """End it, and what it has in hand."""
        if self.transaction is not None:
            self._mongo.server.abort(self.transaction)
            self.transaction = None

    async def start_transaction(self, **_: Any) -> _Running:
        """Begin a transaction; the server hears of it with the first operation."""
        if self.transaction is not None:
            raise Unsupported("a transaction within a transaction")
        self.transaction = Transaction()
        asyncio.get_running_loop().call_later(TRANSACTION_S_MAX, self._mongo.server.abort, self.transaction)
        return _Running(self)

    async def commit(self) -> None:
        """Commit, if anything was done. Raises: AutoReconnect, and nobody knows whether it was."""
        transaction = self.transaction
        assert transaction is not None
        if transaction.snapshot is not None:
            travel = self._mongo.travel
            await travel.out("admin", "commit", write=True)
            self._mongo.server.commit(transaction)
            travel.tell(f"commit of {[f'{name} {id}' for name, id in transaction.writes]}")
            await travel.back("admin", "commit", write=True)

    async def abort(self) -> None:
        """Abort; errors are nobody's business."""
        transaction = self.transaction
        assert transaction is not None
        if transaction.snapshot is not None and not transaction.over:
            try:
                await self._mongo.travel.out("admin", "abort", write=True)
            except AutoReconnect:
                return
            self._mongo.server.abort(transaction)


class _Running:
    """The block of a transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __aenter__(self) -> _Running:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await (self._session.commit() if kind is None else self._session.abort())
        finally:
            self._session.transaction = None


class Collection:
    """As AsyncCollection, as far as this program calls it."""

    def __init__(self, mongo: Mongo, name: str) -> None:
        self.name = name
        self._mongo = mongo
        self._server = mongo.server

    def with_options(self, **_: Any) -> Collection:
        """Concerns make no difference here: there is one server."""
        return self

    def find(
        self, filter: Mapping[str, Any] | None = None, projection: Mapping[str, Any] | None = None, *,
        session: Session | None = None, sort: Any = None, limit: int = 0,
    ) -> Cursor:  # fmt: skip
        """As AsyncCollection.find."""
        return Cursor(self, dict(filter or {}), projection, session, _sort(sort), limit)

    async def find_one(
        self, filter: Mapping[str, Any] | None = None, projection: Mapping[str, Any] | None = None, *,
        session: Session | None = None, sort: Any = None, max_time_ms: int | None = None,
    ) -> Document | None:  # fmt: skip
        """As AsyncCollection.find_one."""
        found = await self.fetch(dict(filter or {}), projection, session, _sort(sort), 1, "find_one")
        return found[0] if found else None

    async def fetch(
        self, query: Mapping[str, Any], fields: Mapping[str, Any] | None, session: Session | None, sort: Sort | None,
        limit: int, operation: str,
    ) -> list[Document]:  # fmt: skip
        """One reading call."""
        return await self._call(
            operation, False, session,
            lambda of: self._server.find(self.name, query, fields=fields, sort=sort, limit=limit, transaction=of),
        )  # fmt: skip

    async def insert_one(self, document: Mapping[str, Any], *, session: Session | None = None) -> Any:
        """As AsyncCollection.insert_one."""
        await self._call("insert_one", True, session, lambda of: self._server.insert(self.name, document, of))
        return SimpleNamespace(inserted_id=document["_id"])

    async def insert_many(self, documents: Sequence[Mapping[str, Any]], *, ordered: bool = True) -> Any:
        """As AsyncCollection.insert_many."""

        def act(of: Transaction | None) -> None:
            for one in documents:
                self._server.insert(self.name, one, of)

        await self._call("insert_many", True, None, act)

    async def update_one(
        self, filter: Mapping[str, Any], update: Update, *, upsert: bool = False, session: Session | None = None
    ) -> Any:
        """As AsyncCollection.update_one."""
        return await self._update("update_one", filter, update, session, upsert=upsert)

    async def update_many(self, filter: Mapping[str, Any], update: Update, *, session: Session | None = None) -> Any:
        """As AsyncCollection.update_many."""
        return await self._update("update_many", filter, update, session, many=True)

    async def find_one_and_update(
        self, filter: Mapping[str, Any], update: Update, *, session: Session | None = None, sort: Any = None,
        return_document: bool = ReturnDocument.BEFORE, projection: Mapping[str, Any] | None = None,
        upsert: bool = False,
    ) -> Document | None:  # fmt: skip
        """As AsyncCollection.find_one_and_update."""
        if upsert:
            raise Unsupported("find_one_and_update with upsert")
        done: Changed = await self._call(
            "find_one_and_update", True, session,
            lambda of: self._server.update(self.name, filter, update, sort=_sort(sort), transaction=of),
        )  # fmt: skip
        version = done.after if return_document else done.before
        return None if version is None else projected(version.document, projection)

    async def delete_one(self, filter: Mapping[str, Any], *, session: Session | None = None) -> Any:
        """As AsyncCollection.delete_one."""
        return await self._delete("delete_one", filter, session, many=False)

    async def delete_many(self, filter: Mapping[str, Any], *, session: Session | None = None) -> Any:
        """As AsyncCollection.delete_many."""
        return await self._delete("delete_many", filter, session, many=True)

    async def count_documents(
        self, filter: Mapping[str, Any], *, limit: int = 0, session: Session | None = None
    ) -> int:
        """As AsyncCollection.count_documents."""
        found = await self._call("count", False, session, lambda of: len(self._server.versions(self.name, filter, of)))
        return min(found, limit) if limit else found

    async def distinct(
        self, key: str, filter: Mapping[str, Any] | None = None, *, session: Session | None = None
    ) -> list[Any]:
        """As AsyncCollection.distinct."""
        return await self._call(
            "distinct", False, session, lambda of: self._server.distinct(self.name, key, filter or {}, of)
        )

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]], *, session: Session | None = None) -> Results:
        """As AsyncCollection.aggregate."""
        return Results(
            await self._call("aggregate", False, session, lambda of: self._server.aggregate(self.name, pipeline, of))
        )

    async def bulk_write(self, requests: Sequence[UpdateOne | InsertOne[Document]], *, ordered: bool = True) -> Any:
        """As AsyncCollection.bulk_write, for updates and inserts; each is a write of its own."""
        matched = modified = 0
        refused: list[dict[str, Any]] = []
        for n, one in enumerate(requests):
            if type(one) is InsertOne:
                try:
                    await self.insert_one(one._doc)
                except DuplicateKeyError as error:
                    refused.append({"index": n, "code": 11000, "errmsg": str(error)})
            elif type(one) is UpdateOne:
                done = await self._update("bulk_write", one._filter, one._doc, None, upsert=bool(one._upsert))
                matched, modified = matched + done.matched_count, modified + done.modified_count
            else:
                raise Unsupported(f"bulk write of {type(one).__name__}")
            if refused and ordered:
                break
        if refused:
            raise BulkWriteError({"writeErrors": refused, "nMatched": matched, "nModified": modified})
        return SimpleNamespace(matched_count=matched, modified_count=modified)

    async def _update(
        self, operation: str, filter: Mapping[str, Any], update: Update, session: Session | None, **more: Any
    ) -> Any:
        done: Changed = await self._call(
            operation, True, session, lambda of: self._server.update(self.name, filter, update, transaction=of, **more)
        )
        return SimpleNamespace(matched_count=done.matched, modified_count=done.modified, upserted_id=done.upserted)

    async def _delete(self, operation: str, filter: Mapping[str, Any], session: Session | None, *, many: bool) -> Any:
        count = await self._call(
            operation, True, session, lambda of: self._server.delete(self.name, filter, many=many, transaction=of)
        )
        return SimpleNamespace(deleted_count=count)

    async def _call(
        self, operation: str, write: bool, session: Session | None, act: Callable[[Transaction | None], T]
    ) -> T:
        travel = self._mongo.travel
        transaction = session.transaction if session is not None else None
        try:
            await travel.out(self.name, operation, write=write)
            while True:
                try:
                    found = act(transaction)
                    break
                except Locked as held:
                    await held.transaction.ended.wait()
            await travel.back(self.name, operation, write=write)
        except AutoReconnect as error:
            if transaction is not None:  # as the driver labels it
                error._add_error_label("TransientTransactionError")
            raise
        return found


class Cursor:
    """As AsyncCursor: one call, made when it is first read."""

    def __init__(
        self, collection: Collection, query: Mapping[str, Any], fields: Mapping[str, Any] | None,
        session: Session | None, sort: Sort | None, limit: int,
    ) -> None:  # fmt: skip
        self._collection = collection
        self._query, self._fields, self._session = query, fields, session
        self._sort, self._limit = sort, limit

    def sort(self, key: Any, way: int = 1) -> Cursor:
        """As AsyncCursor.sort."""
        self._sort = _sort(key if isinstance(key, list) else [(key, way)])
        return self

    def limit(self, count: int) -> Cursor:
        """As AsyncCursor.limit; 0 is no limit."""
        self._limit = count
        return self

    async def to_list(self, length: int | None = None) -> list[Document]:
        """As AsyncCursor.to_list."""
        found = await self._collection.fetch(self._query, self._fields, self._session, self._sort, self._limit, "find")
        return found if length is None else found[:length]

    async def __aiter__(self) -> AsyncIterator[Document]:
        for document in await self.to_list(None):
            yield document


class Results:
    """As AsyncCommandCursor."""

    def __init__(self, found: list[Document]) -> None:
        self._found = found

    async def to_list(self, length: int | None = None) -> list[Document]:
        """As AsyncCommandCursor.to_list."""
        return self._found

    async def __aiter__(self) -> AsyncIterator[Document]:
        for document in self._found:
            yield document


class Bucket:
    """As AsyncGridFSBucket, as far as services/executor/evidence.py uses it: one write, at the close."""

    def __init__(self, db: Any, name: str) -> None:
        self._files = Collection(db.mongo, f"{name}.files")

    def open_upload_stream_with_id(self, id: ObjectId, filename: str, chunk_size_bytes: int = 0) -> Upload:
        """As AsyncGridFSBucket.open_upload_stream_with_id."""
        return Upload(self._files, id, filename)

    async def delete(self, id: ObjectId) -> None:
        """As AsyncGridFSBucket.delete."""
        await self._files.delete_one({"_id": id})


class Upload:
    """As AsyncGridIn."""

    def __init__(self, files: Collection, id: ObjectId, filename: str) -> None:
        self._files, self._id, self._filename = files, id, filename
        self._size = 0

    async def write(self, chunk: bytes) -> None:
        """Take some bytes."""
        self._size += len(chunk)

    async def close(self) -> None:
        """Store the file."""
        from shared.obs.clock import now

        document = {"_id": self._id, "filename": self._filename, "length": self._size, "uploadDate": now()}
        await self._files.insert_one(document)

    async def abort(self) -> None:
        """Forget it."""


def _sort(sort: Any) -> Sort | None:
    if sort is None:
        return None
    return [(sort, 1)] if isinstance(sort, str) else list(sort)


__all__ = ["TRANSIENT", "Bucket", "Collection", "Mongo", "OperationFailure", "Server", "no_transaction"]
