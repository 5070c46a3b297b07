"""Documents that scripts name by handles: /api/v1/documents. Values go in and never come back."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, SecretStr

from services.console.api.access import Admin, ContextOf
from services.console.api.answers import page, problems
from services.console.api.models import (
    DOCUMENT_NAME,
    PAGE_SIZE,
    AccountQuery,
    Body,
    CursorQuery,
    Id,
    LimitQuery,
    NamePath,
    Page,
    View,
)
from services.console.core.certificate import SIZE_BYTES_MAX
from services.console.core.totp import checked_secret
from services.console.store import documents as store

router = APIRouter(tags=["documents"], responses=problems())

TEXT_LENGTH_MAX = 64 * 1024
DocumentPath = Annotated[str, Path(pattern=DOCUMENT_NAME, max_length=200, description="A name such as portal/acme.")]


def _base64(value: SecretStr) -> SecretStr:
    try:
        base64.b64decode(value.get_secret_value(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is no base64") from error
    return value


class TextDocument(Body):
    """A text, such as a password."""

    kind: Literal["text"] = Field(description="text.")
    text: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX, description="The value.")


class CertificateDocument(Body):
    """A client certificate with its key."""

    kind: Literal["certificate"] = Field(description="certificate.")
    pkcs12: Annotated[SecretStr, AfterValidator(_base64)] = Field(
        min_length=1, max_length=SIZE_BYTES_MAX * 4 // 3 + 4, description="The PKCS#12 file, in base64."
    )
    passphrase: SecretStr = Field(max_length=1000, description="What opens it.")
    origins: list[Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", max_length=300)]] = Field(
        min_length=1, max_length=20, description="Where it may be used, such as https://portal.example:8443."
    )


class LoginDocument(Body):
    """A user and a password, for `auth` of http.request."""

    kind: Literal["login"] = Field(description="login.")
    user: str = Field(min_length=1, max_length=500, pattern=r"^[^:\x00-\x1f]+$", description="Without a colon.")
    password: SecretStr = Field(min_length=1, max_length=1000, description="The password.")


def _base32(value: SecretStr) -> SecretStr:
    return SecretStr(checked_secret(value.get_secret_value()))


class TotpDocument(Body):
    """What makes one-time codes (RFC 6238)."""

    kind: Literal["totp"] = Field(description="totp.")
    secret: Annotated[SecretStr, AfterValidator(_base32)] = Field(max_length=500, description="In base32.")
    digits: Literal[6, 7, 8] = Field(default=6, description="Digits of a code.")
    period_s: int = Field(default=30, ge=15, le=120, description="Seconds that a code lasts.")
    algorithm: Literal["SHA1", "SHA256", "SHA512"] = Field(default="SHA1", description="Hash.")


class DocumentView(View):
    """A document, without its value."""

    id: Id
    account: str = Field(description="Whose it is.")
    name: str = Field(description="What scripts call it.")
    kind: str = Field(description="text, certificate, login or totp.")
    meta: dict[str, Any] = Field(
        default_factory=dict, description="Of a certificate: subject, issuer, origins, expiry; of a login: its user."
    )
    updated_at: datetime = Field(description="Last change.")
    updated_by: str | None = Field(default=None, description="Who.")


@router.get("/documents")
async def list_documents(
    viewer: Admin,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[DocumentView]:
    """The documents of your accounts, the last changed first."""
    listed = await store.list_documents(context, viewer, account, limit, cursor)
    return page(response, [DocumentView.of(one) for one in listed.items], listed.next)


@router.get("/documents/{account}/{name:path}")
async def get_document(account: NamePath, name: DocumentPath, viewer: Admin, context: ContextOf) -> DocumentView:
    """One document, without its value."""
    return DocumentView.of(await store.get_document(context, viewer, account, name))


@router.put("/documents/{account}/{name:path}")
async def put_document(
    account: NamePath,
    name: DocumentPath,
    body: Annotated[TextDocument | CertificateDocument | LoginDocument | TotpDocument, Field(discriminator="kind")],
    viewer: Admin,
    context: ContextOf,
) -> DocumentView:
    """Store a document, in place of what was there."""
    if isinstance(body, TextDocument):
        return DocumentView.of(await store.put_text(context, viewer, account, name, body.text.get_secret_value()))
    if isinstance(body, LoginDocument):
        login = {"user": body.user, "password": body.password.get_secret_value()}
        return DocumentView.of(
            await store.put_value(context, viewer, account, name, "login", login, {"user": body.user})
        )
    if isinstance(body, TotpDocument):
        meta = {"digits": body.digits, "period_s": body.period_s, "algorithm": body.algorithm}
        value: dict[str, Any] = {**meta, "secret": body.secret.get_secret_value()}
        return DocumentView.of(await store.put_value(context, viewer, account, name, "totp", value, meta))
    pkcs12 = base64.b64decode(body.pkcs12.get_secret_value())
    passphrase = body.passphrase.get_secret_value()
    return DocumentView.of(
        await store.put_certificate(context, viewer, account, name, pkcs12, passphrase, body.origins)
    )


@router.delete("/documents/{account}/{name:path}", status_code=204)
async def delete_document(account: NamePath, name: DocumentPath, viewer: Admin, context: ContextOf) -> Response:
    """Remove a document."""
    await store.delete_document(context, viewer, account, name)
    return Response(status_code=204)
