"""http.request: one request to another system, and the redirects that the script allows.

Called by: perform.py. Survives a crash: nothing; see the table in __init__.py for what a failure means. How one request
is made, and where it may go: shared/outbound."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from pydantic import Field

from services.executor.core.args import LOGIN
from services.executor.core.web import REDIRECTS, basic, checked_headers, parsed_json, redirected_method
from services.executor.server.order import Args, Failed, InDoubt, Order, TooLarge, read_args
from shared import outbound
from shared.outbound.resolver import Resolver

REQUEST_SIZE_BYTES_MAX = 1024 * 1024
RESPONSE_SIZE_BYTES_MAX = 5 * 1024 * 1024
FOLLOW_MAX = 10
URL_LENGTH_MAX = 8000


class HttpArgs(Args):
    """Arguments of http.request, in clear."""

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
    url: str = Field(max_length=URL_LENGTH_MAX)
    headers: dict[str, str] = Field(default_factory=dict)
    params: dict[str, str | int | float] = Field(default_factory=dict)
    json_: Any = Field(default=None, alias="json")
    text: str | None = None
    auth: str | dict[str, Any] | None = None
    follow: int = Field(default=0, ge=0, le=FOLLOW_MAX)


@dataclass
class _Progress:
    """How far it went, for the meaning of a failure."""

    sent: bool = False
    """Some of a request may have reached its server."""
    hosts: list[str] = field(default_factory=list)

    def sending(self) -> None:
        """A request is on its way."""
        self.sent = True


class Http:
    """Sends requests."""

    def __init__(
        self,
        resolver: Resolver,
        tls: ssl.SSLContext,
        *,
        per_host_max: int = 8,
        response_size_bytes_max: int = RESPONSE_SIZE_BYTES_MAX,
    ) -> None:
        self._outbound = outbound.Outbound(resolver, tls, per_host_max=per_host_max)
        self._response_size_bytes_max = response_size_bytes_max

    async def request(self, order: Order) -> dict[str, Any]:
        """The answer: status, headers, text, json, url.

        Raises: Failed, InDoubt, TooLarge.
        """
        args = read_args(HttpArgs, order)
        first = _first(args)
        progress = _Progress()
        try:
            async with asyncio.timeout(order.timeout_s):
                return await self._follow(first, args.follow, progress)
        except TimeoutError:
            raise _failure(order, progress, "TIMEOUT", f"no answer within {order.timeout_s:g} s") from None
        except Failed as error:
            raise _failure(order, progress, error.code, error.message) from None
        except outbound.Refused as error:
            raise _failure(order, progress, error.code, error.message) from None
        except outbound.TooLarge as error:
            if order.is_act:
                raise TooLarge(error.message) from None
            raise Failed("FAILED", error.message) from None
        except outbound.BadBody as error:
            raise _failure(order, progress, "FAILED", error.message) from None
        except outbound.Broken as error:
            progress.sent = progress.sent or error.sent
            raise _failure(order, progress, "TIMEOUT" if error.timeout else "FAILED", error.message) from None

    async def _follow(self, hop: outbound.Request, follow: int, progress: _Progress) -> dict[str, Any]:
        """One request after the other, as far as redirects lead and the script allows."""
        while True:
            progress.hosts.append(hop.url.raw_host.decode("ascii").strip("[]"))
            answer = await self._outbound.send(
                hop, size_bytes_max=self._response_size_bytes_max, on_sending=progress.sending
            )
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None or follow == 0:
                return _value(answer)
            follow -= 1
            hop = _next(hop, answer.status, location)


def _first(args: HttpArgs) -> outbound.Request:
    """The request that the script asks for.

    Raises: Failed BAD_ARGUMENT.
    """
    try:
        url = httpx.URL(args.url)
        url = url.copy_merge_params({name: str(value) for name, value in args.params.items()}) if args.params else url
        headers = checked_headers(args.headers)
        content, kind = _content(args)
        if args.auth is not None:
            if "authorization" in headers:
                raise ValueError("either auth or the header Authorization")
            headers["authorization"] = _authorization(args.auth)
    except (ValueError, TypeError, httpx.InvalidURL, RecursionError) as error:
        said = "url is no address" if isinstance(error, httpx.InvalidURL) else str(error)
        raise Failed("BAD_ARGUMENT", f"http.request: {said}") from None
    if kind is not None:
        headers.setdefault("content-type", kind)
    return outbound.Request(args.method, _checked(url), headers, content)


def _content(args: HttpArgs) -> tuple[bytes | None, str | None]:
    """The body and its media type."""
    if args.json_ is not None and args.text is not None:
        raise ValueError("either json or text")
    if args.json_ is None and args.text is None:
        return None, None
    if args.text is not None:
        content, kind = args.text.encode(), "text/plain; charset=utf-8"
    else:
        content, kind = json.dumps(args.json_, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"
    if len(content) > REQUEST_SIZE_BYTES_MAX:
        raise ValueError(f"a body of {len(content)} bytes; at most {REQUEST_SIZE_BYTES_MAX} are sent")
    return content, kind


def _authorization(auth: str | dict[str, Any]) -> str:
    if isinstance(auth, str):
        return checked_headers({"authorization": f"Bearer {auth}"})["authorization"]
    if set(auth) != {LOGIN}:
        raise ValueError("auth is a document of kind text (a bearer token) or login")
    return basic(auth[LOGIN]["user"], auth[LOGIN]["password"])


def _checked(url: httpx.URL) -> httpx.URL:
    """Raises: Failed BAD_ARGUMENT."""
    try:
        return outbound.checked_url(url)
    except outbound.Refused as error:
        raise Failed(error.code, f"http.request: {error.message}") from None


def _next(hop: outbound.Request, status: int, location: str) -> outbound.Request:
    """Where a redirect leads. What may be secret does not go to another origin, nothing goes from https to http.

    Raises: Failed.
    """
    try:
        url = hop.url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise Failed("FAILED", "the server redirects to something that is no address") from None
    url = _checked(url)
    if hop.url.scheme == "https" and url.scheme != "https":
        raise Failed("NOT_ALLOWED", "the server redirects from https to http")
    method = redirected_method(hop.method, status)
    headers = dict(hop.headers)
    if (url.scheme, url.host, url.port) != (hop.url.scheme, hop.url.host, hop.url.port):
        kept = ("user-agent", "accept", "content-type")
        headers = {name: value for name, value in headers.items() if name in kept}
    if method == hop.method:
        return outbound.Request(method, url, headers, hop.content)
    headers.pop("content-type", None)
    return outbound.Request(method, url, headers, None)


def _value(answer: outbound.Answer) -> dict[str, Any]:
    kind, text = answer.media_type, answer.text()
    is_json = kind == "application/json" or kind.endswith("+json")
    return {
        "status": answer.status,
        "headers": {name: value for name, value in answer.headers.items() if not name.startswith("$")},
        "text": text,
        "json": parsed_json(text) if is_json else None,
        "url": str(answer.url),
    }


def _failure(order: Order, progress: _Progress, code: str, text: str) -> Failed:
    """What a failure means, by how far it went."""
    where = f" ({progress.hosts[-1]})" if progress.hosts else ""
    if order.is_act and progress.sent:
        return InDoubt(code, f"{text}{where}; the request may have been carried out")
    return Failed(code, f"{text}{where}")
