"""What the routes of the partners' HTTP API of delivery share.

Called by: results_api.py, endpoints_api.py, deliveries_api.py, main.py. Everything is of the key's own account.
Survives a crash: nothing is written here. Change also: README.md, ARCHITECTURE.md (HTTP).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request

from services.delivery.channels import Channel
from services.delivery.store import DeliveryStore
from services.delivery.store_endpoints import EndpointStore
from shared.mongo import Mongo
from shared.seal import Sealer

Cursor = Annotated[str | None, Query(max_length=500, description="From the answer before.")]


@dataclass(frozen=True)
class Context:
    """What the routes work with."""

    mongo: Mongo
    store: DeliveryStore
    endpoints: EndpointStore
    sealer: Sealer
    channels: Mapping[str, Channel]
    wake: Callable[[str | None], None]
    """Tells the sender that something is due."""


def _context(request: Request) -> Context:
    found: Context = request.app.state.delivery
    return found
