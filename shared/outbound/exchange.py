"""One HTTP request to another system, and its answer.

Called by: executor (http.request), delivery (webhooks), collector (pollers). Survives a crash: nothing. A connection is
made for each request and closed after it: connections that are kept could carry a request under another host's
certificate. The URL that httpx connects to holds the address that was checked, the name stays in `Host` and in the TLS
handshake (and is what the certificate is checked against). Redirects are answers like others."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.outbound.body import read_body, read_start
from shared.outbound.errors import Broken, Refused
from shared.outbound.places import Places
from shared.outbound.resolver import Resolver

CONNECT_S = 10.0
"""For one address; then the next one is tried."""
AGENT = "Regente"
_SENDING = ("http11.send_request_headers.started", "http2.send_request_headers.started")


@dataclass(frozen=True)
class Request:
    """What is sent."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; host and accept-encoding are set here."""
    content: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: httpx.URL
    cut: bool = False
    """There is more of the body; only for requests that asked for its beginning."""
    charset: str | None = None

    @property
    def media_type(self) -> str:
        """In lower case, without parameters; empty when it has none."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    def text(self) -> str:
        """The body as text; what is no text in its character set becomes U+FFFD."""
        try:
            return self.body.decode(self.charset or "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")


class Outbound:
    """Sends requests. `close` when the service stops."""

    def __init__(
        self, resolver: Resolver, tls: ssl.SSLContext, *, per_host_max: int = 8, connect_s: float = CONNECT_S
    ) -> None:
        self._resolver = resolver
        self._tls = tls
        self._places = Places(per_host_max)
        self._connect_s = connect_s

    async def send(
        self,
        request: Request,
        *,
        size_bytes_max: int,
        start_only: bool = False,
        on_sending: Callable[[], None] | None = None,
    ) -> Answer:
        """Send one request; its time is the caller's to limit.

        start_only: of a larger body the first `size_bytes_max` bytes are enough. on_sending: called when its server
        may have some of it, for callers that end it before its time. Raises: Refused, TooLarge, BadBody, Broken.
        """
        url = checked_url(request.url)
        host, port = url.raw_host.decode("ascii").strip("[]"), url.port or (443 if url.scheme == "https" else 80)
        sending = _Sending(on_sending)
        async with self._places.of(f"{host}:{port}"):
            addresses = await self._resolver.addresses(host, port)
            try:
                return await self._first_that_answers(request, host, addresses, sending, size_bytes_max, start_only)
            except httpx.TimeoutException as error:
                raise Broken("no connection in time", sent=sending.begun, timeout=True) from error
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
                raise Broken(_said(error), sent=sending.begun) from error

    def close(self) -> None:
        """Let the resolver's threads go."""
        self._resolver.close()

    async def _first_that_answers(
        self,
        request: Request,
        host: str,
        addresses: list[str],
        sending: _Sending,
        size_bytes_max: int,
        start_only: bool,
    ) -> Answer:
        """The answer of the first address that takes a connection."""
        for address in addresses[:-1]:
            try:
                return await self._exchange(request, host, address, sending, size_bytes_max, start_only)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._exchange(request, host, addresses[-1], sending, size_bytes_max, start_only)

    async def _exchange(
        self, request: Request, host: str, address: str, sending: _Sending, size_bytes_max: int, start_only: bool
    ) -> Answer:
        """One request to one address."""
        headers = {**request.headers, "host": request.url.netloc.decode("ascii"), "accept-encoding": "identity"}
        headers.setdefault("user-agent", AGENT)
        headers.setdefault("accept", "*/*")
        transport = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, retries=0)
        timeout = httpx.Timeout(None, connect=self._connect_s)
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=timeout) as client:
            built = client.build_request(
                request.method,
                request.url.copy_with(host=address),
                headers=headers,
                content=request.content,
                extensions={"sni_hostname": host, "trace": sending.trace},
            )
            response = await client.send(built, stream=True, follow_redirects=False)
            try:
                body, cut = (
                    await read_start(response, size_bytes_max)
                    if start_only
                    else (await read_body(response, size_bytes_max), False)
                )
            finally:
                await response.aclose()
        return Answer(response.status_code, response.headers, body, request.url, cut, response.charset_encoding)


@dataclass
class _Sending:
    """Whether some of a request may have reached its server."""

    told: Callable[[], None] | None = None
    begun: bool = False

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """What httpcore tells."""
        if event in _SENDING and not self.begun:
            self.begun = True
            if self.told is not None:
                self.told()


def checked_url(url: httpx.URL | str) -> httpx.URL:
    """A URL that requests can go to.

    Raises: Refused BAD_ARGUMENT.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise Refused("BAD_ARGUMENT", "url is no address") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Refused("BAD_ARGUMENT", "url must begin with http:// or https:// and a host")
    if parsed.userinfo:
        raise Refused("BAD_ARGUMENT", "url holds a user or a password; give auth instead")
    return parsed


def _said(error: Exception) -> str:
    """A library's error in words that hold nothing of the request."""
    if isinstance(error, httpx.ConnectError):
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        return "TLS fails" if isinstance(cause, ssl.SSLError) else "it takes no connection"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return "the connection broke before the answer was complete"
    return f"the request failed: {type(error).__name__}"
