"""A `Server` as the executor makes it, with peers of the test on loopback."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.executor.core.reply import Answer
from services.executor.evidence import EvidenceStore
from services.executor.secrets import Secrets
from services.executor.server import Order, Server
from services.executor.server.http import Http
from services.executor.server.job import Jobs
from services.executor.server.mail import Mail
from shared.domain.addresses import networks
from shared.domain.mail_server import MailServer
from shared.mongo import Mongo
from shared.outbound.resolver import Resolver
from tests.integration.executor.server.certificates import authority

Lookup = Callable[..., list[tuple[Any, ...]]]
NAMES = {"api.test": ["127.0.0.1"], "other.test": ["127.0.0.1"], "inside.test": ["10.0.0.7"]}


def lookup(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
    """The test's own names; what is in none of them is not looked up anywhere."""
    if host not in NAMES:
        raise OSError("unknown name")
    return [(2, 1, 6, "", (address, port)) for address in NAMES[host]]


@dataclass
class Ground:
    """What a test builds a server on."""

    mongo: Mongo
    evidence: EvidenceStore
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    tls: ssl.SSLContext = field(default_factory=lambda: ssl.create_default_context(cadata=authority().pem))

    def server(self, *, allowed: str = "127.0.0.0/8", names: Lookup = lookup, smtp: str = "", **more: Any) -> Server:
        """A server with these settings."""

        async def document(account: str, name: str) -> dict[str, Any] | None:
            return self.documents.get(f"{account}/{name}")

        resolver = Resolver(networks(allowed), names)
        return Server(
            Http(resolver, self.tls, **{k: v for k, v in more.items() if k != "jobs_max"}),
            Jobs(self.mongo, Secrets(document), at_once_max=more.get("jobs_max", 8)),
            Mail(MailServer.of(smtp) if smtp else None, "robots@acme.example", self.evidence, self.tls),
            resolver,
        )


@pytest.fixture
async def place(mongo_url: str, mongo_db: str) -> AsyncIterator[Ground]:
    """A database of its own."""
    mongo = Mongo(mongo_url, mongo_db)
    yield Ground(mongo, EvidenceStore(mongo))
    await mongo.close()


def order(
    instruction: str, /, *, seq: int = 7, timeout_s: float = 30, secrets: tuple[str, ...] = (), **args: Any
) -> Order:
    """An order as an entry of run_1 makes it."""
    read = instruction == "http.request" and args.get("method") in ("GET", "HEAD", "OPTIONS")
    return Order(
        name=instruction, args=args, effect="read" if read else "act", timeout_s=timeout_s, account="acme",
        workflow="tax", run="run_1", seq=seq, task="task_1", secrets=frozenset(secrets),
    )  # fmt: skip


def told(answer: Answer) -> tuple[str, str]:
    """Outcome and code of an answer."""
    return answer.outcome.value, answer.error.code if answer.error else ""
