"""Webhooks: the stored bytes, posted to the endpoint's address, signed.

Called by: sender.py. Survives a crash: nothing. Where a request may go is shared/outbound's to say: only to public
addresses (and to networks that the installation allows), looked up and checked at every attempt and pinned, so that a
name that changes its mind in between (DNS rebinding) changes nothing. Redirects are answers, never followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.delivery.config import DeliverySettings
from services.delivery.core.outcome import ANSWER_SIZE_BYTES_MAX, Answer, attempt_record
from shared.domain.addresses import Network, networks
from shared.domain.endpoint import ED25519, HMAC, KEY_PURPOSE, SECRET_PURPOSE, schemes, signing, url_problem
from shared.domain.retry_after import retry_after_s
from shared.domain.signature import headers
from shared.obs.clock import monotonic_s, now
from shared.obs.trace import current
from shared.outbound import Outbound, OutboundError, Refused, Request, checked_url, tls_context
from shared.outbound.resolver import Resolver
from shared.seal import SealBroken, Sealer


class Webhook:
    """Posts. `close` when the service stops."""

    def __init__(
        self, outbound: Outbound, sealer: Sealer, *, timeout_s: float, allowed: tuple[Network, ...] = ()
    ) -> None:
        """allowed: networks besides public ones, for what `problem` refuses at once."""
        self._outbound = outbound
        self._sealer = sealer
        self._timeout_s = timeout_s
        self._allowed = allowed

    @classmethod
    def of(cls, settings: DeliverySettings, sealer: Sealer) -> Webhook:
        """As the settings say.

        Raises: ValueError, OSError, ssl.SSLError for a setting that can't be used.
        """
        allowed = networks(settings.delivery_private_allowed)
        outbound = Outbound(
            Resolver(allowed),
            tls_context(settings.ca_file),
            per_host_max=settings.delivery_concurrent_max,
            connect_s=settings.delivery_connect_timeout_s,
        )
        return cls(outbound, sealer, timeout_s=settings.delivery_timeout_s, allowed=allowed)

    async def attempt(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Post the stored bytes once, and see what comes back."""
        at, began = now(), monotonic_s()
        text = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer, text = await self._post(endpoint, delivery)
        except TimeoutError:
            answer = Answer(None, f"no answer within {self._timeout_s:g} s")
        except SealBroken:
            answer = Answer(None, "the endpoint's secret can't be opened with this installation's master key")
        except Refused as error:
            answer = Answer(None, f"not sent: {error.message}")
        except OutboundError as error:
            answer = Answer(None, error.message)
        except ValueError as error:
            answer = Answer(None, f"not sent: {error}")
        return answer, attempt_record(answer, at=at, duration_s=monotonic_s() - began, text=text)

    def problem(self, fields: Mapping[str, Any]) -> list[dict[str, str]]:
        """What is wrong with an endpoint's settings; of addresses what can be said without looking a name up."""
        why = url_problem(str(fields.get("url") or ""), self._allowed)
        return [{"path": "/url", "message": why}] if why else []

    def close(self) -> None:
        """Let the resolver's threads go."""
        self._outbound.close()

    async def _post(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, str]:
        sent = self._signed(endpoint, delivery)
        trace = current()
        if trace:
            sent["traceparent"] = trace
        request = Request("POST", checked_url(endpoint["url"]), sent, delivery["body"].encode())
        found = await self._outbound.send(request, size_bytes_max=ANSWER_SIZE_BYTES_MAX, start_only=True)
        after_s = retry_after_s(found.headers.get("retry-after"), now())
        return Answer(found.status, retry_after_s=after_s), found.body.decode("utf-8", "replace")

    def _signed(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> dict[str, str]:
        """Headers of an attempt.

        Raises: SealBroken when the secrets were sealed with another master key; ValueError.
        """
        at, wanted = now(), schemes(endpoint)
        secrets = signing(endpoint.get("secrets") or (), endpoint, at) if HMAC in wanted else []
        keys = signing(endpoint.get("keys") or (), endpoint, at) if ED25519 in wanted else []
        return headers(
            [self._opened(SECRET_PURPOSE, sealed, endpoint) for sealed in secrets],
            [self._opened(KEY_PURPOSE, key["sealed"], endpoint) for key in keys],
            webhook_id=delivery["webhook_id"],
            at=at,
            body=delivery["body"],
        )

    def _opened(self, purpose: str, sealed: bytes, endpoint: Mapping[str, Any]) -> str:
        return self._sealer.open(purpose, bytes(sealed), str(endpoint["_id"]).encode()).decode()
