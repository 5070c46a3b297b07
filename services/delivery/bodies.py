"""The bytes of a webhook, made once when its delivery is.

Called by: handlers.py. Survives a crash: nothing; whoever inserts a delivery first decides what its bytes are, for
ever. Evidence comes as links that need no key, or besides them in base64, as the endpoint says.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.delivery.core.plan import Event, body_text, question_of
from shared.domain.decision import PURPOSE, question_view
from shared.domain.task_view import EVIDENCE_PURPOSE, task_view, with_evidence
from shared.mongo import Mongo
from shared.mongo.blobs import read_evidence
from shared.seal import Sealer

INLINE = "inline"


class Bodies:
    """Makes bodies."""

    def __init__(self, mongo: Mongo, sealer: Sealer, *, collector_url: str, console_url: str) -> None:
        self._mongo = mongo
        self._sealer = sealer
        self._collector_url = collector_url
        self._console_url = console_url

    def view(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """A task as its partner sees it."""
        return task_view(task, collector_url=self._collector_url)

    async def of_task(
        self, task: Mapping[str, Any], event: Event, endpoint: Mapping[str, Any] | None, at: datetime
    ) -> str:
        """The body of a task's event for one endpoint (none: it does not exist yet)."""
        return body_text(event, await self._shown(task, endpoint), at)

    async def of_question(
        self, decision: Mapping[str, Any], task: Mapping[str, Any] | None, endpoint: Mapping[str, Any] | None
    ) -> str:
        """The body of a question for one endpoint, with the link under which people answer it."""
        token = self._sealer.derive(PURPOSE, str(decision["_id"]))
        view = question_view(decision, console_url=self._console_url, token=token)
        view["task"] = await self._shown(task, endpoint) if task is not None else None
        return body_text(question_of(decision), view, decision["asked_at"])

    async def _shown(self, task: Mapping[str, Any], endpoint: Mapping[str, Any] | None) -> dict[str, Any]:
        contents: dict[str, str] = {}
        if endpoint is not None and endpoint.get("evidence") == INLINE:
            contents = await self._contents(task, int(endpoint.get("inline_size_bytes_max") or 0))
        return with_evidence(self.view(task), token_of=self._token, contents=contents)

    def _token(self, evidence: str) -> str:
        return self._sealer.derive(EVIDENCE_PURPOSE, evidence)

    async def _contents(self, task: Mapping[str, Any], size_bytes_max: int) -> dict[str, str]:
        """Bytes in base64, by the evidence's id, as long as all of them fit; the others stay links."""
        found: dict[str, str] = {}
        left = size_bytes_max
        for item in task.get("evidence") or ():
            if int(item.get("size_bytes") or 0) > left:
                continue
            data = await read_evidence(self._mongo, str(item["sha256"]), left)
            if data is not None:
                found[item["id"]] = base64.b64encode(data).decode()
                left -= len(data)
        return found
