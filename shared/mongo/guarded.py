"""Writes that take effect once: an insert that somebody wins, an update that expects a state, a short transaction.

Called by: every store. Survives a crash: each write is one document (or one transaction), majority and journalled;
who calls again with the same operation id learns that it worked. Change also: nothing.

Ambiguous errors (a failover, a timeout of the write concern) are resolved by looking at the primary again: my
operation id there means it worked; otherwise it isn't mine. Never an overwrite. Transport errors are tried again for
about RETRY_S seconds, then become a TemporaryError; nothing above may retry inside that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from bson import encode as bson_encode
from pymongo import ReturnDocument
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from shared.errors import TemporaryError
from shared.mongo import Collection, Mongo, Session, first_line
from shared.obs.metrics import counter

RETRY_S = 10.0
FAILOVER_CODES = frozenset({91, 189, 10107, 11600, 11602, 13435, 13436})
"""ShutdownInProgress, PrimarySteppedDown, NotWritablePrimary, Interrupted (both), NotPrimary (both)."""
WRITE_CONFLICT_CODE = 112
DUPLICATE_KEY_CODE = 11000
WRITE_CONCERN_CODES = frozenset({64, 79, 100})
REREAD_TIMEOUT_MS = 5_000

_retries = counter("mongo_retries_total", "Database writes that were tried again after a transport error.")
T = TypeVar("T")


@dataclass(frozen=True)
class Guarded:
    """What a guarded update did."""

    applied: bool
    """True when this operation took effect, now or by an earlier call with the same op."""
    document: dict[str, Any] | None
    """The document as it is now; None when there is none with this id."""


def is_transient(error: BaseException) -> bool:
    """Whether this is an error of transport, after which nobody knows if the write took effect."""
    if isinstance(error, ConnectionFailure | WTimeoutError | ExecutionTimeout | WaitQueueTimeoutError):
        return True
    if isinstance(error, PyMongoError) and error.has_error_label("RetryableWriteError"):
        return True
    if isinstance(error, BulkWriteError):
        faults = _faults(error)
        return faults <= FAILOVER_CODES and bool(faults or (error.details or {}).get("writeConcernErrors"))
    return isinstance(error, OperationFailure) and error.code in FAILOVER_CODES | WRITE_CONCERN_CODES


async def insert_once(collection: Collection, document: Mapping[str, Any], *, session: Session | None = None) -> bool:
    """Insert a document unless one with its _id (or another unique key of it) is there.

    Returns: True when it was inserted by this call, False when another one was there first.
    Raises: TemporaryError when the database did not take it within RETRY_S seconds.
    """
    ambiguous = False

    async def attempt() -> bool:
        nonlocal ambiguous
        try:
            await collection.insert_one(dict(document), session=session)
            return True
        except DuplicateKeyError:
            return ambiguous and await _is_stored(collection, document)
        except PyMongoError:
            ambiguous = True
            raise

    return await attempt() if session is not None else await retried(attempt, f"insert into {collection.name}")


async def insert_new(collection: Collection, documents: Sequence[Mapping[str, Any]]) -> bool:
    """Insert those of some documents that are not there (by _id, or another unique key).

    Returns: True when all are new. False when some were there, be it of an earlier try of this very call: who has to
    know which looks. Raises: TemporaryError when the database gave no clear answer within RETRY_S seconds; some may be
    stored then.
    """

    async def attempt() -> bool:
        try:
            await collection.insert_many([dict(document) for document in documents], ordered=False)
        except BulkWriteError as error:
            if _faults(error) or (error.details or {}).get("writeConcernErrors"):
                raise
            return False
        return True

    return await retried(attempt, f"insert into {collection.name}")


def _faults(error: BulkWriteError) -> set[Any]:
    """Codes of what went wrong with single writes, but for keys that are taken."""
    return {entry.get("code") for entry in (error.details or {}).get("writeErrors", ())} - {DUPLICATE_KEY_CODE}


async def guarded_update(
    collection: Collection,
    id: Any,
    expect: Mapping[str, Any],
    update: Mapping[str, Any],
    *,
    op: str,
    session: Session | None = None,
) -> Guarded:
    """Change one document if it is as expected, and write `op` on it.

    expect: filter beside the _id (state, token). update: operators ($set, $inc, ...). op: identity of this operation;
    a document that carries it was changed by it, so a repeated call answers `applied` and changes nothing more.
    Raises: TemporaryError when the database did not answer within RETRY_S seconds. With a session errors come as they
    are.
    """
    changes = {**update, "$set": {**update.get("$set", {}), "op": op}}
    ambiguous = False

    async def attempt() -> Guarded:
        nonlocal ambiguous
        if ambiguous:
            found = await _read(collection, id, None)
            if found is not None and found.get("op") == op:
                return Guarded(True, found)
        ambiguous = True
        after = await collection.find_one_and_update(
            {**expect, "_id": id}, changes, return_document=ReturnDocument.AFTER, session=session
        )
        if after is not None:
            return Guarded(True, after)
        found = await _read(collection, id, session)
        return Guarded(found is not None and found.get("op") == op, found)

    return await attempt() if session is not None else await retried(attempt, f"update of {collection.name}")


class WriteConflict(TemporaryError):
    """Another transaction changes the same documents; nothing was done."""


async def in_transaction(
    mongo: Mongo, fn: Callable[[Session], Awaitable[T]], *, conflicts: bool = True, session: Session | None = None
) -> T:
    """Run `fn(session)` in a transaction; again when the server says that this may help.

    conflicts: also after a write conflict; a caller that would look again in any case says no and gets WriteConflict.
    session: the caller's own, which has nothing else in hand; else one is made for this transaction.

    `fn` may run several times, and does nothing but database calls with the session. Its own errors roll back and
    come through. Raises: TemporaryError when the database did not take it within RETRY_S seconds. The outcome is then
    unknown only if the commit was under way, so `fn` should use deterministic ids.
    """

    async def attempt() -> T:
        async with AsyncExitStack() as stack:
            used = session
            if used is None:
                used = await stack.enter_async_context(mongo.client.start_session())
            begun = await used.start_transaction(
                read_concern=ReadConcern("snapshot"), write_concern=mongo.db.write_concern
            )
            async with begun:
                return await fn(used)

    try:
        return await retried(attempt, "transaction", conflicts=conflicts)
    except OperationFailure as error:
        if error.code == WRITE_CONFLICT_CODE:
            raise WriteConflict("another transaction changes the same documents") from error
        raise


async def retried(attempt: Callable[[], Awaitable[T]], what: str, *, conflicts: bool = True) -> T:
    """Try `attempt` again after errors of transport, for RETRY_S seconds; it must be safe to repeat.

    what: names it in the error. conflicts: also after a write conflict. Raises: TemporaryError; its own errors.
    """

    def again(error: BaseException) -> bool:
        return _worth_another_try(error) and (conflicts or getattr(error, "code", None) != WRITE_CONFLICT_CODE)

    try:
        async for trial in AsyncRetrying(
            retry=retry_if_exception(again),
            stop=stop_after_delay(RETRY_S),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            after=lambda _: _retries.inc(),
            reraise=True,
        ):
            with trial:
                return await attempt()
    except PyMongoError as error:
        if again(error):
            raise TemporaryError(f"{what} failed: {first_line(error)}") from error
        raise
    raise AssertionError("unreachable: the loop returns or raises")


def _worth_another_try(error: BaseException) -> bool:
    labelled = isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError")
    return labelled or is_transient(error)


async def _read(collection: Collection, id: Any, session: Session | None) -> dict[str, Any] | None:
    """The document as the primary has it; outside a transaction only what no failover takes back (linearizable)."""
    if session is not None:
        return await collection.find_one({"_id": id}, session=session)
    sure = collection.with_options(read_concern=ReadConcern("linearizable"), read_preference=ReadPreference.PRIMARY)
    return await sure.find_one({"_id": id}, max_time_ms=REREAD_TIMEOUT_MS)


async def _is_stored(collection: Collection, document: Mapping[str, Any]) -> bool:
    """Whether exactly this document is there: an insert whose answer was lost."""
    found = await _read(collection, document.get("_id"), None)
    return found is not None and bson_encode(found) == bson_encode(dict(document))
