"""All queries on sources and their log.

Called by: keeper.py, session.py, requests.py. Survives a crash: a claim is a guarded update that raises the source's
token; every later write names the token (and, where settings matter, their revision), so a collector that was taken
over writes nothing any more. The console writes settings, rev, enabled, next_at, cursor (when a person sets it) and
wanted; everything else is written here. Change also: shared/mongo/indexes.py, services/console/store/sources.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo.errors import PyMongoError

from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import guarded_update, insert_once, is_transient
from shared.obs.ids import new_id

Source = dict[str, Any]


class SourceStore:
    """The collector's view of the sources."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo

    async def due(self, now: datetime, limit: int) -> list[Source]:
        """Sources that nobody works on and that are due, or that a person wants looked at."""
        either = [{"next_at": {"$lte": now}, "enabled": True}, {"wanted.command": {"$gt": ""}}]
        return await self._find({"holder": {"$exists": False}, "$or": either}, limit)

    async def held(self, limit: int) -> list[Source]:
        """Sources that somebody works on."""
        return await self._find({"holder.by": {"$gt": ""}}, limit)

    async def _find(self, query: Mapping[str, Any], limit: int) -> list[Source]:
        fields = {"token": 1, "holder": 1, "wanted": 1}
        try:
            return await self.mongo["sources"].find(query, fields).sort("next_at", 1).limit(limit).to_list(limit)
        except PyMongoError as error:
            if is_transient(error):
                raise TemporaryError(f"sources can't be read: {first_line(error)}") from error
            raise

    async def claim(self, source: Mapping[str, Any], holder: Mapping[str, Any]) -> Source | None:
        """Take a source as it was seen (free, or with a holder that is dead); none: somebody was faster.

        What a person wants moves to `asked`: a look of theirs that comes meanwhile is another one.
        """
        expect: dict[str, Any] = {"token": source["token"], "holder": source.get("holder", {"$exists": False})}
        update: dict[str, Any] = {"$set": {"holder": dict(holder)}, "$inc": {"token": 1}}
        if "wanted" in source:
            expect["wanted"] = source["wanted"]
            update["$set"]["asked"] = source["wanted"]
            update["$unset"] = {"wanted": ""}
        done = await guarded_update(self.mongo["sources"], source["_id"], expect, update, op=new_id("op_"))
        return done.document if done.applied else None

    async def save(self, source: Mapping[str, Any], changes: Mapping[str, Any], increments: Mapping[str, int]) -> bool:
        """Write about a source in hand; false: it is another's, its settings changed, or it is gone."""
        update: dict[str, Any] = {"$set": dict(changes)}
        if increments:
            update["$inc"] = dict(increments)
        return await self._write(source, {"rev": source["rev"]}, update)

    async def release(
        self, source: Mapping[str, Any], changes: Mapping[str, Any], increments: Mapping[str, int]
    ) -> None:
        """Lay a source down. After a change of its settings only that: when it is due is the console's word then."""
        free = {"holder": "", "asked": ""}
        update: dict[str, Any] = {"$set": dict(changes), "$unset": free}
        if increments:
            update["$inc"] = dict(increments)
        if not await self._write(source, {"rev": source["rev"]}, update):
            await self._write(source, {}, {"$unset": free})

    async def _write(self, source: Mapping[str, Any], expect: Mapping[str, Any], update: Mapping[str, Any]) -> bool:
        mine = {"token": source["token"], "holder": source["holder"], **expect}
        done = await guarded_update(self.mongo["sources"], source["_id"], mine, update, op=new_id("op_"))
        return done.applied

    async def add_log(self, entry: Mapping[str, Any]) -> None:
        """Store what a look was; there is one for each claim."""
        await insert_once(self.mongo["source_log"], entry)

    async def source(self, id: str) -> Source | None:
        """A source as it is."""
        return await self.mongo["sources"].find_one({"_id": id})

    async def want(self, id: str, wanted: Mapping[str, Any]) -> bool:
        """Note that a person wants a look; false: there is no such source."""
        done = await self.mongo["sources"].update_one({"_id": id}, {"$set": {"wanted": dict(wanted)}})
        return bool(done.matched_count)

    async def looked_for(self, command: str, source: str) -> dict[str, Any] | None:
        """The look that a request asked for, when it is over."""
        return await self.mongo["source_log"].find_one({"source": source, "command": command})

    async def drop_batch(self, batch: str) -> None:
        """Forget a batch that made no task."""
        await self.mongo["batches"].delete_one({"_id": batch})

    async def document(self, account: str, name: str) -> bytes | None:
        """A sealed document of an account."""
        found = await self.mongo["documents"].find_one({"_id": f"{account}/{name}"}, {"sealed": 1})
        return bytes(found["sealed"]) if found else None

    async def input_schema(self, account: str, workflow: str) -> Mapping[str, Any]:
        """The current version's input schema; empty when there is none: the intake says so."""
        found = await self.mongo["workflows"].find_one({"_id": f"{account}/{workflow}"}, {"current": 1})
        if not found or found.get("current") is None:
            return {}
        id = f"{account}/{workflow}/{found['current']}"
        version = await self.mongo["versions"].find_one({"_id": id}, {"input": 1})
        return (version or {}).get("input") or {}
