"""Opens the account's documents that a source's settings name.

Called by: web.py, sftp.py, right before they are sent. Nothing that this gives is stored, logged or put into an error.
Change also: services/console/store/documents.py (seals them).
"""

from __future__ import annotations

import json
from typing import Any

from services.collector.core.looks import Failure
from services.collector.sources.store import SourceStore
from shared.seal import SealBroken, Sealer

PURPOSE = "document"


class Secrets:
    """Documents in clear."""

    def __init__(self, store: SourceStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def text(self, account: str, name: str) -> str:
        """A document of kind text. Raises: Failure."""
        return str((await self._open(account, name, "text"))["text"])

    async def login(self, account: str, name: str) -> tuple[str, str]:
        """User and password of a document of kind login. Raises: Failure."""
        found = await self._open(account, name, "login")
        return str(found["user"]), str(found["password"])

    async def _open(self, account: str, name: str, kind: str) -> dict[str, Any]:
        sealed = await self._store.document(account, name)
        if sealed is None:
            raise Failure(f"the account has no document {name!r}; store it in the console")
        try:
            found: dict[str, Any] = json.loads(self._sealer.open(PURPOSE, sealed, f"{account}/{name}".encode()))
        except SealBroken:
            raise Failure(f"document {name!r} can't be opened with this installation's master key") from None
        if found.get("kind") != kind:
            raise Failure(f"document {name!r} is a {found.get('kind')}; a {kind} is needed here")
        return found
