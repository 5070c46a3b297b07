"""How a page learns whose client certificate the connection was made with.

uvicorn keeps the peer's certificate to itself. The protocol class here wraps the application of its connection, so
that every request's scope carries it where the ASGI TLS extension puts it: `scope["extensions"]["tls"]`
(https://asgi.readthedocs.io/en/latest/specs/tls.html), with the parsed subject beside it.

Owns: `Client` and the protocol class. Called by: demo.portal.__main__ (uvicorn's `http=`), demo.portal.pages.
Survives a crash: nothing to survive. Change also: nothing; all it needs of uvicorn is `connection_made` and `self.app`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True)
class Client:
    """Who stands at the other end, by the certificate that the TLS handshake verified against the portal's CA."""

    name: str
    organisation: str
    issuer: str
    serial: str
    valid_until: str
    fingerprint: str


class ClientCertificateProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, telling the application who the TLS peer is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the peer's certificate once: it cannot change within a connection (TLS renegotiation is off)."""
        super().connection_made(transport)
        client = _peer(transport.get_extra_info("ssl_object"))
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            extensions = {**scope.get("extensions", {}), "tls": {"client": client}}
            await inner({**scope, "extensions": extensions}, receive, send)

        self.app = app


def client_of(request: Request) -> Client | None:
    """The request's verified client, or None when its browser sent no certificate."""
    extensions: dict[str, Any] = request.scope.get("extensions", {})
    client: Client | None = extensions.get("tls", {}).get("client")
    return client


def _peer(connection: ssl.SSLObject | None) -> Client | None:
    der = connection.getpeercert(binary_form=True) if connection else None
    return read_client(der) if der else None


def read_client(der: bytes) -> Client:
    """What the portal shows and remembers of a client certificate in DER."""
    certificate = x509.load_der_x509_certificate(der)
    return Client(
        name=_attribute(certificate.subject, NameOID.COMMON_NAME),
        organisation=_attribute(certificate.subject, NameOID.ORGANIZATION_NAME),
        issuer=_attribute(certificate.issuer, NameOID.COMMON_NAME),
        serial=f"{certificate.serial_number:X}",
        valid_until=certificate.not_valid_after_utc.date().isoformat(),
        fingerprint=hashlib.sha256(der).hexdigest(),
    )


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""
