"""Requests to a partner's API with the authentication that its source is set to.

Called by: poll.py. Every request, also the one for a token, goes through shared/outbound: its addresses are checked and
pinned, redirects are not followed, certificates are checked. Survives a crash: nothing; tokens are kept in memory only,
for each revision of a source's settings.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote_plus, urlencode

from services.collector.core.looks import Failure
from services.collector.sources.secrets import Secrets
from services.collector.sources.session import Session
from shared.intake.source_settings import Auth, BasicAuth, BearerAuth, HeaderAuth, OAuthAuth
from shared.obs.clock import monotonic_s
from shared.outbound import Answer, BadBody, Broken, Outbound, OutboundError, Refused, Request, TooLarge, checked_url

TOKENS_KEPT = 1000
TOKEN_SIZE_BYTES_MAX = 64 * 1024
TOKEN_S = 30.0
TOKEN_LIFE_S, TOKEN_LIFE_S_MAX = 300.0, 24 * 3600.0
"""Of a token that doesn't say how long it is good for; and at most."""
EARLY_S = 30.0


class Web:
    """Sends requests."""

    def __init__(self, outbound: Outbound, secrets: Secrets, clock: Callable[[], float] = monotonic_s) -> None:
        self._outbound = outbound
        self._secrets = secrets
        self._clock = clock
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def send(
        self, session: Session, auth: Auth | None, request: Request, *, timeout_s: float, size_bytes_max: int
    ) -> Answer:
        """One request, authenticated; with OAuth 2, once more with a new token when the first is refused.

        Raises: Failure.
        """
        answer = await self._send(await self._signed(session, auth, request), timeout_s, size_bytes_max)
        if answer.status == 401 and isinstance(auth, OAuthAuth):
            self._tokens.pop(_key(session), None)
            answer = await self._send(await self._signed(session, auth, request), timeout_s, size_bytes_max)
        return answer

    async def _send(self, request: Request, timeout_s: float, size_bytes_max: int, *, what: str = "") -> Answer:
        host = what or f"{request.url.host}"
        try:
            async with asyncio.timeout(timeout_s):
                return await self._outbound.send(request, size_bytes_max=size_bytes_max)
        except TimeoutError:
            raise Failure(f"{host} gave no answer within {timeout_s:g} s") from None
        except Refused as error:
            raise Failure(f"{host} can't be asked: {error.message}") from error
        except (TooLarge, BadBody) as error:
            raise Failure(f"{host}: {error.message}") from error
        except Broken as error:
            raise Failure(f"{host} can't be reached: {error.message}") from error
        except OutboundError as error:
            raise Failure(f"{host}: {error.message}") from error

    async def _signed(self, session: Session, auth: Auth | None, request: Request) -> Request:
        if auth is None:
            return request
        account, headers = session.account, dict(request.headers)
        if isinstance(auth, BasicAuth):
            headers["authorization"] = basic(*await self._secrets.login(account, auth.login))
        elif isinstance(auth, BearerAuth):
            headers["authorization"] = f"Bearer {await self._secrets.text(account, auth.token)}"
        elif isinstance(auth, HeaderAuth):
            headers[auth.name.lower()] = auth.prefix + await self._secrets.text(account, auth.value)
        else:
            headers["authorization"] = f"Bearer {await self._token(session, auth)}"
        if any(char in value for value in headers.values() for char in "\r\n\x00"):
            raise Failure("a header, or the document that it is made of, holds a line break")
        return replace(request, headers=headers)

    async def _token(self, session: Session, auth: OAuthAuth) -> str:
        """A token that is good for a while. Raises: Failure."""
        key = _key(session)
        kept = self._tokens.get(key)
        if kept is not None and kept[1] > self._clock():
            return kept[0]
        token, life_s = await self._new_token(session.account, auth)
        self._tokens[key] = (token, self._clock() + max(0.0, min(life_s, TOKEN_LIFE_S_MAX) - EARLY_S))
        while len(self._tokens) > TOKENS_KEPT:
            self._tokens.popitem(last=False)
        return token

    async def _new_token(self, account: str, auth: OAuthAuth) -> tuple[str, float]:
        """Ask for a token (RFC 6749, 4.4): the token, and seconds that it is good for. Raises: Failure."""
        user, password = await self._secrets.login(account, auth.client)
        form = {"grant_type": "client_credentials", "scope": auth.scope, "audience": auth.audience}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if auth.client_in == "body":
            form |= {"client_id": user, "client_secret": password}
        else:  # RFC 6749, 2.3.1: encoded as a form's fields first
            headers["authorization"] = basic(quote_plus(user), quote_plus(password))
        content = urlencode({name: value for name, value in form.items() if value}).encode()
        try:
            url = checked_url(auth.token_url)
        except Refused as error:
            raise Failure(f"token_url: {error.message}") from error
        what = f"the token server {url.host}"
        answer = await self._send(Request("POST", url, headers, content), TOKEN_S, TOKEN_SIZE_BYTES_MAX, what=what)
        if answer.status != 200:
            raise Failure(f"{what} gave no token: it answered {answer.status}{_oauth_error(answer)}")
        try:
            found = json.loads(answer.body)
            token, kind = found["access_token"], str(found.get("token_type", "bearer"))
            life_s = float(found.get("expires_in") or TOKEN_LIFE_S)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Failure(f"{what} gave no token: its answer is no token response") from error
        if not isinstance(token, str) or not token or kind.lower() != "bearer":
            raise Failure(f"{what} gave no bearer token")
        return token, life_s


def basic(user: str, password: str) -> str:
    """The header for a user and a password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _key(session: Session) -> str:
    return f"{session.id} {session.source['rev']}"


def _oauth_error(answer: Answer) -> str:
    """The error code of RFC 6749, 5.2; nothing else of the answer is told."""
    try:
        code = json.loads(answer.body).get("error")
    except (ValueError, AttributeError, RecursionError):
        return ""
    known = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope")
    return f" ({code})" if code in known else ""
