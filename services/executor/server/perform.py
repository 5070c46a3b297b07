"""Performs the server's instructions, and turns whatever happens into an answer that fits into the journal.

Called by: phase.py (once per (run, seq)); main.py makes it. Survives a crash: nothing; see __init__.py for what a
failure means. Cancelling `perform` ends what it does and raises CancelledError: a command and all that it started are
gone within about two seconds, before it raises; a request's or a mail's connection is closed, and what the other side
makes of that nobody knows. The act stays unanswered in the journal then."""

from __future__ import annotations

from typing import Any

import bson
from bson.errors import BSONError

from services.executor.config import ExecutorSettings
from services.executor.core.reply import Answer
from services.executor.evidence import EvidenceStore
from services.executor.secrets import Secrets, scrubbed
from services.executor.server.http import Http
from services.executor.server.job import Jobs
from services.executor.server.mail import Mail
from services.executor.server.order import Failed, InDoubt, Order, TooLarge
from shared.contracts.messages import ReplyError, ReplyOutcome
from shared.domain.addresses import networks
from shared.domain.mail_server import MailServer
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, histogram
from shared.outbound import tls_context
from shared.outbound.resolver import Resolver

VALUE_SIZE_BYTES_MAX = 8 * 1024 * 1024
"""Of a value in the journal; an entry of MongoDB takes 16 MB, and the next snapshot goes into the same one."""
MESSAGE_LENGTH_MAX = 2000
DONE = counter("server_instructions_total", "Instructions that the server performed.", ["name", "outcome"])
SECONDS = histogram("server_instruction_seconds", "Time of an instruction that the server performed.", ["name"])

log = get_logger("executor.server")


class Server:
    """Everything that is performed here. `close` when the executor stops."""

    def __init__(self, http: Http, jobs: Jobs, mail: Mail, resolver: Resolver) -> None:
        self._http = http
        self._jobs = jobs
        self._mail = mail
        self._resolver = resolver

    @classmethod
    def of(cls, settings: ExecutorSettings, mongo: Mongo, evidence: EvidenceStore, secrets: Secrets) -> Server:
        """As the settings say.

        Raises: ValueError that names the setting.
        """
        resolver = Resolver(networks(settings.http_private_allowed))
        url = settings.smtp_url.get_secret_value()
        mail_server = MailServer.of(url) if url else None
        return cls(
            Http(resolver, tls_context(settings.ca_file), per_host_max=settings.http_per_host_max),
            Jobs(mongo, secrets, at_once_max=settings.jobs_max, user=settings.job_user or None),
            Mail(mail_server, settings.mail_from, evidence, tls_context(settings.ca_file)),
            resolver,
        )

    async def perform(self, order: Order) -> Answer:
        """Perform an instruction to its end. Never raises but for being cancelled."""
        begun_s = monotonic_s()
        answer = await self._answer(order, begun_s)
        DONE.labels(order.name, answer.outcome.value).inc()
        SECONDS.labels(order.name).observe(answer.duration_s)
        return answer

    def close(self) -> None:
        """Let go of what is held."""
        self._resolver.close()

    async def _answer(self, order: Order, begun_s: float) -> Answer:
        secrets = order.secrets
        try:
            value, more = await self._perform(order)
            secrets = secrets | more
        except TooLarge:
            return _answer(order, begun_s, ReplyOutcome.DONE, too_large=True)
        except InDoubt as error:
            return _answer(order, begun_s, ReplyOutcome.IN_DOUBT, error=error)
        except Failed as error:
            return _answer(order, begun_s, ReplyOutcome.ERROR, error=error)
        except Exception as error:  # a fault of ours: how far it went nobody knows
            log.error(
                "an instruction of the server failed", name=order.name, run=order.run, seq=order.seq,
                task=order.task, error=type(error).__name__,
            )  # fmt: skip
            outcome = ReplyOutcome.IN_DOUBT if order.is_act else ReplyOutcome.ERROR
            told = Failed("FAILED", f"{order.name} failed inside the server ({type(error).__name__})")
            return _answer(order, begun_s, outcome, error=told)
        value = scrubbed(value, secrets)
        if not _fits(value):
            return _answer(order, begun_s, ReplyOutcome.DONE, too_large=True)
        return _answer(order, begun_s, ReplyOutcome.DONE, value=value)

    async def _perform(self, order: Order) -> tuple[dict[str, Any], frozenset[str]]:
        """The value, and secrets that were not yet known."""
        if order.name == "http.request":
            return await self._http.request(order), frozenset()
        if order.name == "job.run":
            return await self._jobs.run(order)
        if order.name == "mail.send":
            return dict(await self._mail.send(order)), frozenset()
        raise Failed("BAD_ARGUMENT", f"there is no {order.name} on this server")


def _answer(
    order: Order, begun_s: float, outcome: ReplyOutcome, *, value: Any = None, too_large: bool = False,
    error: Failed | None = None,
) -> Answer:  # fmt: skip
    told = None
    if error is not None:
        message = str(scrubbed(error.message, order.secrets))[:MESSAGE_LENGTH_MAX]
        told = ReplyError(code=error.code, message=message)
    return Answer(
        seq=order.seq, outcome=outcome, value=value, value_too_large=too_large, error=told,
        duration_s=round(monotonic_s() - begun_s, 3),
    )  # fmt: skip


def _fits(value: Any) -> bool:
    """Whether the journal can hold it."""
    try:
        return len(bson.encode({"value": value})) <= VALUE_SIZE_BYTES_MAX
    except (BSONError, OverflowError, UnicodeEncodeError, RecursionError):
        return False
