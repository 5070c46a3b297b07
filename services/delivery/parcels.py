"""What an attempt hands over as files: the result (or many of them), and the evidence where that is wanted.

Called by: channels/mail.py, channels/files.py. Owns nothing; reads deliveries, evidence, documents. Survives a crash:
names and bytes follow from stored documents that don't change, so a repeat makes the same files again.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.delivery.core.render import MEDIA_TYPES, collected_stem, evidence_name, file_stem, rendered
from shared.domain.endpoint_options import FileSettings
from shared.mongo import Mongo
from shared.mongo.blobs import read_evidence
from shared.outbound.ssh import Login
from shared.seal import Sealer

EVIDENCE_SIZE_BYTES_MAX = 64 * 1024 * 1024
"""As large as the executor takes by default; held in memory while it is sent."""
DOCUMENT_PURPOSE = "document"
PROOFS_MAX = 1000
"""Pieces of evidence in one parcel; what is more stays a link."""


class Unusable(Exception):
    """A parcel can't be made, or a document can't be used; the message is for people and holds no secret."""


@dataclass(frozen=True)
class Proof:
    """A piece of evidence that goes along; its bytes are read when it is its turn."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Parcel:
    """One file of results, and what goes with it."""

    name: str
    media_type: str
    data: bytes
    bodies: Sequence[Mapping[str, Any]]
    """What it tells of, for subjects and texts."""
    proofs: Sequence[Proof] = ()


class Parcels:
    """Makes parcels."""

    def __init__(self, mongo: Mongo, sealer: Sealer) -> None:
        self._mongo = mongo
        self._sealer = sealer

    async def of(self, settings: FileSettings, delivery: Mapping[str, Any]) -> Parcel:
        """The parcel of a delivery. Raises: Unusable when nothing of it is left."""
        texts = await self._texts(delivery)
        if not texts:
            raise Unusable("its results were erased or deleted")
        bodies = [json.loads(text) for text in texts]
        collected = "items" in delivery
        form = "ndjson" if collected and settings.format == "json" else settings.format
        stem = (
            collected_stem(delivery["endpoint"], delivery["until"], delivery["_id"])
            if collected
            else file_stem(bodies[0], delivery["_id"])
        )
        proofs = _proofs(stem, bodies) if settings.evidence == "files" else []
        data = await asyncio.to_thread(rendered, texts, form)  # a workbook of a thousand results takes a second
        return Parcel(f"{stem}.{form}", MEDIA_TYPES[form], data, bodies, proofs)

    async def bytes_of(self, proof: Proof) -> bytes | None:
        """A piece of evidence; none when it is not kept any more, or too large to be sent."""
        return await read_evidence(self._mongo, proof.sha256, EVIDENCE_SIZE_BYTES_MAX)

    async def login(self, account: str, user: str, document: str) -> Login:
        """Who logs in: a password or private key of the account.

        Raises: Unusable; SealBroken.
        """
        key = f"{account}/{document}"
        found = await self._mongo["documents"].find_one({"_id": key})
        if found is None:
            raise Unusable(f"the account has no document {document!r}; store it in the console")
        content = json.loads(self._sealer.open(DOCUMENT_PURPOSE, bytes(found["sealed"]), key.encode()))
        secret = {"text": content.get("text"), "login": content.get("password")}.get(str(content.get("kind")))
        if not secret:
            raise Unusable(f"document {document!r} holds no password and no private key; it is a {content.get('kind')}")
        return Login(user, str(secret))

    async def _texts(self, delivery: Mapping[str, Any]) -> list[str]:
        """The bodies of a delivery in order; those that were erased or deleted meanwhile are left out."""
        if "items" not in delivery:
            return [] if delivery.get("erased") else [str(delivery["body"])]
        wanted = list(delivery["items"])
        query = {"_id": {"$in": wanted}, "erased": None}
        found = await self._mongo["deliveries"].find(query, {"body": 1}).to_list(len(wanted))
        bodies = {one["_id"]: str(one["body"]) for one in found}
        return [bodies[id] for id in wanted if id in bodies]


def _proofs(stem: str, bodies: Sequence[Mapping[str, Any]]) -> list[Proof]:
    listed = [proof for body in bodies for proof in body["data"].get("evidence") or ()]
    return [
        Proof(
            evidence_name(stem, n, proof, mimetypes.guess_extension(str(proof.get("media_type"))) or ""),
            str(proof.get("media_type") or "application/octet-stream"),
            int(proof.get("size_bytes") or 0),
            str(proof["sha256"]),
        )
        for n, proof in enumerate(listed[:PROOFS_MAX], start=1)
        if proof.get("sha256")
    ]
