"""The database client of a service: one connection pool, with the write concern that the hand-offs rely on.

Called by: shared.runtime.service makes one `Mongo`; stores use `mongo["tasks"]`. Survives a crash: every acknowledged
write (majority and journal). Change also: nothing; collections and indexes are declared in shared/mongo/indexes.py.

Two traps are met here and in guarded.py: a primary that hangs without closing its connections would block a client
for as long as it hangs, so sockets have a timeout; and after a clean step-down the driver does not retry some errors
of single documents, so guarded.py does.
"""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from shared.errors import TemporaryError

SERVER_SELECTION_TIMEOUT_S = 5.0
SOCKET_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 3.0
POOL_SIZE_MAX = 100
WRITE_TIMEOUT_MS = 10_000

Document = dict[str, Any]
Collection = AsyncCollection[Document]
Session = AsyncClientSession


class Mongo:
    """A client and one database of it. Connects at the first use; survives failovers and restarts of the servers.

    url: mongodb://... with user, password and replicaSet. db_name: the database. app_name: shown in the server's log.
    ca_file: PEM file of the authorities of servers that speak TLS (tls=true in the URL, mongodb+srv).
    """

    def __init__(self, url: str, db_name: str, *, app_name: str = "regente", ca_file: str = "") -> None:
        trusted: dict[str, Any] = {"tlsCAFile": ca_file} if ca_file and _is_tls(url) and "tlsCAFile=" not in url else {}
        self.client: AsyncMongoClient[Document] = AsyncMongoClient(
            url,
            appname=app_name,
            tz_aware=True,
            retryWrites=True,
            retryReads=True,
            serverSelectionTimeoutMS=int(SERVER_SELECTION_TIMEOUT_S * 1000),
            socketTimeoutMS=int(SOCKET_TIMEOUT_S * 1000),
            connectTimeoutMS=int(CONNECT_TIMEOUT_S * 1000),
            waitQueueTimeoutMS=int(SOCKET_TIMEOUT_S * 1000),
            maxPoolSize=POOL_SIZE_MAX,
            **trusted,
        )
        concern = WriteConcern(w="majority", j=True, wtimeout=WRITE_TIMEOUT_MS)
        self.db: AsyncDatabase[Document] = self.client.get_database(db_name, write_concern=concern)

    def __getitem__(self, collection: str) -> Collection:
        """The collection of that name, majority-written and journalled."""
        return self.db[collection]

    async def ping(self) -> None:
        """Ask the primary for a sign of life.

        Raises: TemporaryError when none answers within a few seconds.
        """
        try:
            await self.client.admin.command("ping")
        except PyMongoError as error:
            raise TemporaryError(f"the database does not answer: {first_line(error)}") from error

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()


def first_line(error: BaseException) -> str:
    """An error's text without the driver's description of the whole topology, for one line of a log."""
    text = str(error).split(", Topology Description")[0].split(", Timeout:")[0].split("\n")[0]
    return text[:300] or type(error).__name__


def _is_tls(url: str) -> bool:
    return url.startswith("mongodb+srv:") or "tls=true" in url or "ssl=true" in url
