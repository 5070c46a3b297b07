"""Documents that scripts name by handles: texts, certificates, log-ins and what makes one-time codes, sealed.

Owns: collection documents. Called by: api/documents.py, bootstrap of the demo. Read by: executor, with the same
purpose and the _id as associated data. Values never come back: what is shown is the meta. Change also:
services/executor, which opens {"kind": "text", "text"}, {"kind": "certificate", "pkcs12", "passphrase", "origins"},
{"kind": "login", "user", "password"} and {"kind": "totp", "secret", "digits", "period_s", "algorithm"}.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from services.console.core.access import Viewer
from services.console.core.certificate import read_certificate
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now

PURPOSE = "document"
DOCUMENTS_PER_ACCOUNT_MAX = 5000


async def list_documents(
    context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None
) -> Listed:
    """Documents without their values, the last changed first."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(
        context, "documents", query, by="updated_at", limit=limit, cursor=cursor, projection={"sealed": 0}
    )


async def get_document(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One document without its value.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["documents"].find_one({"_id": f"{account}/{name}"}, {"sealed": 0})
    return found(document, viewer, f"document {account}/{name}")


async def put_text(context: Context, viewer: Viewer, account: str, name: str, text: str) -> dict[str, Any]:
    """Store a text, in place of what was there.

    Raises: PermanentError NOT_FOUND (account), TOO_MANY.
    """
    return await _put(context, viewer, account, name, {"kind": "text", "text": text}, {})


async def put_value(
    context: Context, viewer: Viewer, account: str, name: str, kind: str, value: dict[str, Any], meta: dict[str, Any]
) -> dict[str, Any]:
    """Store a login or what makes one-time codes; `meta` is what may be seen of it.

    Raises: PermanentError NOT_FOUND (account), TOO_MANY.
    """
    return await _put(context, viewer, account, name, {"kind": kind, **value}, meta)


async def put_certificate(
    context: Context, viewer: Viewer, account: str, name: str, pkcs12: bytes, passphrase: str, origins: list[str]
) -> dict[str, Any]:
    """Store a client certificate, in place of what was there.

    Raises: PermanentError INVALID_INPUT when it can't be read, NOT_FOUND (account), TOO_MANY.
    """
    try:
        facts = read_certificate(pkcs12, passphrase)
    except ValueError as error:
        raise PermanentError(ErrorCode.INVALID_INPUT, str(error)) from error
    value = {
        "kind": "certificate",
        "pkcs12": base64.b64encode(pkcs12).decode(),
        "passphrase": passphrase,
        "origins": origins,
    }
    meta = {"subject": facts.subject, "issuer": facts.issuer, "expires_at": facts.expires_at, "origins": origins}
    return await _put(context, viewer, account, name, value, meta)


async def _put(
    context: Context, viewer: Viewer, account: str, name: str, value: dict[str, Any], meta: dict[str, Any]
) -> dict[str, Any]:
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    if await context.mongo["documents"].count_documents({"account": account}) >= DOCUMENTS_PER_ACCOUNT_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"an account has at most {DOCUMENTS_PER_ACCOUNT_MAX} documents")
    document_id = f"{account}/{name}"
    document = {
        "_id": document_id,
        "schema_version": 1,
        "account": account,
        "name": name,
        "kind": value["kind"],
        "sealed": context.sealer.seal(PURPOSE, json.dumps(value).encode(), document_id.encode()),
        "meta": meta,
        "updated_at": now(),
        "updated_by": viewer.name,
    }
    await context.mongo["documents"].replace_one({"_id": document_id}, document, upsert=True)
    details = {"kind": value["kind"]}
    await audit(
        context.mongo, by=viewer.name, action="document.put", target=document_id, account=account, details=details
    )
    return {field: value for field, value in document.items() if field != "sealed"}


async def delete_document(context: Context, viewer: Viewer, account: str, name: str) -> None:
    """Remove a document; scripts that name it fail from now on.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_document(context, viewer, account, name)
    await context.mongo["documents"].delete_one({"_id": document["_id"]})
    target = str(document["_id"])
    await audit(context.mongo, by=viewer.name, action="document.delete", target=target, account=account)
