"""What the handles in an instruction's arguments stand for, opened for the one who performs it.

Called by: phase.py, just before an instruction is sent to a robot or performed here. Survives a crash: nothing; an
instruction that is sent again is opened again. Nothing that this gives may be stored or logged. Change also:
core/args.py (where handles may stand), core/totp.py (which code an instruction carries)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, quote_plus

from services.executor.core.args import LOGIN, resolve, secret_names, secret_value
from services.executor.core.totp import MARGIN_S, Totp
from shared.contracts.catalogue import BadCall
from shared.script.modules import TOTP

SHORTEST = 4
"""Shorter values would blank out half of every text, and are no secrets worth the name."""
MASK = "***"

Open = Callable[[str, str], Awaitable[dict[str, Any] | None]]
"""(account, name) -> what the document holds; none when there is none."""


@dataclass(frozen=True)
class Opened:
    """Arguments in clear, and what must not be seen in anything that is kept."""

    args: dict[str, Any]
    secrets: frozenset[str]
    sealed: bool = False
    """A secret or a one-time code is among the arguments: a robot gets them sealed."""


class Secrets:
    """Opens documents of an account."""

    def __init__(self, open_document: Open, clock: Callable[[], float] = time.time) -> None:
        self._open = open_document
        self._clock = clock

    async def resolve(
        self,
        account: str,
        args: Mapping[str, Any],
        *,
        objects: Mapping[str, Mapping[str, Any]] | None = None,
        asked_at: datetime,
        name: str = "",
        environment: str | None = None,
    ) -> Opened:
        """The arguments of the instruction `name` with values for handles; waits up to 2 s for a fresh one-time code.

        environment: of the run, for the selectors of objects. asked_at: when it was stored, the same at every try.
        Raises: BadCall for a document or an object that there is not, or that can't be used here.
        """
        values = {one: secret_value(await self.content(account, one)) for one in secret_names(args)}
        for one, value in values.items():
            if isinstance(value, dict) and LOGIN in value and not _login_allowed(name, args, one):
                raise BadCall(f"document {one!r} is a log-in; only http.request takes one, as auth")
        codes = {one: await self._code(account, one, asked_at.timestamp()) for one in secret_names(args, TOTP)}
        opened = resolve(args, objects or {}, values, codes, environment)
        return Opened(opened, frozenset(_strings(list(values.values()))), sealed=bool(values or codes))

    async def content(self, account: str, name: str) -> dict[str, Any]:
        """What a document holds.

        Raises: BadCall when the account has no such document.
        """
        found = await self._open(account, name)
        if found is None:
            raise BadCall(f"the account has no document {name!r}; store it in the console")
        return found

    async def text(self, account: str, name: str) -> str:
        """A document of kind text.

        Raises: BadCall.
        """
        found = await self.content(account, name)
        if found.get("kind") != "text":
            raise BadCall(f"document {name!r} is no text")
        return str(found["text"])

    async def _code(self, account: str, name: str, asked_s: float) -> str:
        content = await self.content(account, name)
        if content.get("kind") != "totp":
            raise BadCall(f"document {name!r} makes no one-time codes; it is a {content.get('kind')}")
        totp = Totp.of(content)
        at_s = totp.moment_s(asked_s, self._clock())
        left_s = at_s - self._clock()
        if 0 < left_s <= MARGIN_S:  # more than that is another machine's clock
            await asyncio.sleep(left_s)
        return totp.code(at_s)


def scrubbed(value: Any, secrets: frozenset[str]) -> Any:
    """The value without any of the secrets, however they are commonly written; one-time codes are worthless by then."""
    forms = sorted({form for one in secrets for form in _forms(one)}, key=len, reverse=True)
    return _without(value, forms) if forms else value


def _forms(secret: str) -> set[str]:
    if len(secret) < SHORTEST:
        return set()
    quoted = json.dumps(secret)[1:-1]
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quoted, json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret), quote_plus(secret), encoded}


def _without(value: Any, forms: list[str]) -> Any:
    if isinstance(value, str):
        for form in forms:
            value = value.replace(form, MASK)
        return value
    if isinstance(value, dict):
        return {_without(key, forms): _without(inner, forms) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, forms) for inner in value]
    return value


def _login_allowed(name: str, args: Mapping[str, Any], document: str) -> bool:
    """Whether a log-in is used only as `auth` of a request."""
    return name == "http.request" and document not in secret_names({k: v for k, v in args.items() if k != "auth"})


def _strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for one in inner for text in _strings(one)}
