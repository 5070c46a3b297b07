"""The screen when a task failed, for the messages about it.

Called by: sender.py. Reads alerts, tasks and evidence; owns nothing. What is not kept any more, or too large, is left
out: a message never waits for a picture. Survives a crash: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import PyMongoError

from services.alerts.core.bundles import Entry
from services.alerts.notify.store import NotifyStore
from shared.domain.alert_rules import RuleKind
from shared.domain.letter import Picture
from shared.errors import RegenteError
from shared.mongo import first_line
from shared.mongo.blobs import read_evidence
from shared.obs.logs import get_logger

PICTURES_MAX = 3
LOOKED_AT_MAX = 10
"""Alerts of a message that a picture is looked for."""
SIZE_BYTES_MAX = 1_500_000
MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
log = get_logger(__name__)


class Pictures:
    """Finds pictures."""

    def __init__(self, store: NotifyStore) -> None:
        self._store = store

    async def of(self, entries: Sequence[Entry]) -> list[Picture]:
        """Those of what is wrong, the worst first; each once."""
        looked_at = [one.alert for one in entries if not one.over][:LOOKED_AT_MAX]
        found: dict[str, Picture] = {}
        try:
            alerts = await self._store.alerts(looked_at)
            for id in looked_at:
                if id in alerts and len(found) < PICTURES_MAX:
                    await self._add(alerts[id], found)
        except (RegenteError, PyMongoError) as error:
            log.warning("pictures of alerts can't be read", reason=first_line(error))
        return list(found.values())

    async def _add(self, alert: Mapping[str, Any], found: dict[str, Picture]) -> None:
        evidence = await self._evidence(alert)
        if evidence is None or evidence in found:
            return
        link = await self._store.mongo["evidence_links"].find_one({"_id": evidence}, {"sha256": 1, "media_type": 1})
        if link is None or link.get("media_type") not in MEDIA_TYPES:
            return
        data = await read_evidence(self._store.mongo, link["sha256"], SIZE_BYTES_MAX)
        if data is not None:
            found[evidence] = Picture(f"picture-{len(found) + 1}", link["media_type"], data)

    async def _evidence(self, alert: Mapping[str, Any]) -> str | None:
        """The id of the evidence that shows what an alert is about."""
        facts = alert.get("facts") or {}
        if facts.get("evidence"):
            return str(facts["evidence"][0])
        fields = {"error.failed.picture": 1}
        tasks = self._store.mongo["tasks"]
        if facts.get("task"):
            return _picture(await tasks.find_one({"_id": facts["task"]}, fields))
        if alert["kind"] == RuleKind.FAILURE_RATE and facts.get("workflow"):
            query = {
                "account": alert["account"], "workflow": facts["workflow"], "state": "failed",
                "finished_at": {"$type": "date"},
            }  # fmt: skip
            newest = await tasks.find(query, fields).hint("rate").sort("finished_at", -1).limit(1).to_list()
            return _picture(newest[0]) if newest else None
        return None


def _picture(task: Mapping[str, Any] | None) -> str | None:
    failed = ((task or {}).get("error") or {}).get("failed") or {}
    return str(failed["picture"]) if failed.get("picture") else None
