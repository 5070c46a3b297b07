"""How a delivery reaches a partner: one channel per kind of endpoint.

Called by: main.py (makes them), sender.py (attempts), api.py (settings of an endpoint). Survives a crash: nothing lives
here; an attempt that nobody wrote down is made again, with the same bytes under the same webhook-id. A new kind is a
module of its own with a class that fits `Channel`, and one line in `channels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from services.delivery.channels.files import Folder, Sftp
from services.delivery.channels.mail import Mail
from services.delivery.channels.webhook import Webhook
from services.delivery.config import DeliverySettings
from services.delivery.core.outcome import Answer
from services.delivery.parcels import Parcels
from shared.domain.addresses import networks
from shared.domain.endpoint import WEBHOOK
from shared.domain.endpoint_options import FOLDER, MAIL, SFTP
from shared.domain.mail_server import MailServer
from shared.mongo import Mongo
from shared.outbound import tls_context
from shared.outbound.resolver import Resolver
from shared.seal import Sealer


class Channel(Protocol):
    """One way to hand over a delivery."""

    async def attempt(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Hand a delivery over, once, within its time limit.

        Never raises for what can go wrong on the way: the answer says it. Returns: the answer, and the attempt's record
        {at, status, duration_s, error, answer (first 2 KB)}.
        """
        ...

    def problem(self, fields: Mapping[str, Any]) -> list[dict[str, str]]:
        """What is wrong with an endpoint's settings, as [{path, message}]; empty when nothing is."""
        ...

    def close(self) -> None:
        """Let go of what is held; when the service stops."""
        ...


def channels(settings: DeliverySettings, sealer: Sealer, mongo: Mongo) -> dict[str, Channel]:
    """Every kind's channel.

    Raises: OSError, ValueError that name a setting that can't be used.
    """
    parcels, timeout_s = Parcels(mongo, sealer), settings.delivery_files_timeout_s
    smtp = settings.smtp_url.get_secret_value()
    return {
        WEBHOOK: Webhook.of(settings, sealer),
        MAIL: Mail(
            parcels,
            MailServer.of(smtp) if smtp else None,
            settings.mail_from,
            tls_context(settings.ca_file),
            timeout_s=timeout_s,
        ),
        SFTP: Sftp(
            parcels,
            Resolver(networks(settings.delivery_private_allowed)),
            instance=settings.instance,
            timeout_s=timeout_s,
            connect_s=settings.delivery_connect_timeout_s,
        ),
        FOLDER: Folder(parcels, settings.delivery_folder, instance=settings.instance, timeout_s=timeout_s),
    }


def limit_s(settings: DeliverySettings, endpoint: Mapping[str, Any]) -> float:
    """How long one attempt at an endpoint may take, in seconds."""
    webhook = kind_of(endpoint) == WEBHOOK
    return settings.delivery_timeout_s if webhook else settings.delivery_files_timeout_s


def kind_of(endpoint: Mapping[str, Any]) -> str:
    """An endpoint's kind."""
    return str(endpoint.get("kind") or WEBHOOK)
