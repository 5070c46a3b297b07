"""Delivery's settings; the shared ones are in shared.runtime.settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.delivery.core.schedule import STANDARD_SCHEDULE_S, parse_schedule
from shared.runtime.settings import ServiceSettings

PAGE_MAX = 500
PAGE_DEFAULT = 100


class DeliverySettings(ServiceSettings):
    """Read once from REGENTE_*."""

    http_port: int = Field(default=8004, ge=1, le=65535, description="Port of the results feed and the endpoints.")
    delivery_schedule_s: Annotated[tuple[float, ...], NoDecode] = Field(
        default=STANDARD_SCHEDULE_S, description="Waits after failed attempts, seconds, comma separated."
    )
    delivery_timeout_s: float = Field(default=15.0, gt=0, le=60, description="One attempt, in all.")
    delivery_connect_timeout_s: float = Field(default=10.0, gt=0, le=60, description="Reaching the endpoint.")
    delivery_concurrent_max: int = Field(default=16, ge=1, le=256, description="Attempts at once.")
    delivery_concurrent_per_endpoint_max: int = Field(default=4, ge=1, le=64, description="Of them, to one endpoint.")
    delivery_poll_s: float = Field(default=1.0, gt=0, le=60, description="How often due deliveries are looked for.")
    sweep_s: float = Field(
        default=2.0, gt=0, le=60, description="How often tasks and commands without a hint are looked for."
    )

    @field_validator("delivery_schedule_s", mode="before")
    @classmethod
    def _schedule(cls, value: object) -> object:
        return parse_schedule(value) if isinstance(value, str) else value
