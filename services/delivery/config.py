"""Delivery's settings; the shared ones are in shared.runtime.settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.delivery.core.schedule import STANDARD_SCHEDULE_S, parse_schedule
from shared.runtime.mail_settings import MailSettings
from shared.runtime.settings import Networks

PAGE_MAX = 500
PAGE_DEFAULT = 100


class DeliverySettings(MailSettings):
    """Read once from REGENTE_*."""

    http_port: int = Field(default=8004, ge=1, le=65535, description="Port of the results feed and the endpoints.")
    delivery_schedule_s: Annotated[tuple[float, ...], NoDecode] = Field(
        default=STANDARD_SCHEDULE_S, description="Waits after failed attempts, seconds, comma separated."
    )
    delivery_timeout_s: float = Field(default=15.0, gt=0, le=60, description="One attempt, in all.")
    delivery_files_timeout_s: float = Field(
        default=300.0, gt=0, le=3600, description="One attempt by mail, SFTP or folder, with all its evidence."
    )
    delivery_connect_timeout_s: float = Field(default=10.0, gt=0, le=60, description="Reaching the endpoint.")
    delivery_concurrent_max: int = Field(default=64, ge=1, le=256, description="Attempts at once.")
    delivery_concurrent_per_endpoint_max: int = Field(default=4, ge=1, le=64, description="Of them, to one endpoint.")
    delivery_breaker_failures: int = Field(
        default=10, ge=0, le=1000, description="Failures in a row that open an endpoint's circuit; 0: never."
    )
    delivery_breaker_pause_s: float = Field(
        default=5.0, gt=0, le=3600, description="Before an open circuit is probed; doubled after each failure."
    )
    delivery_breaker_pause_max_s: float = Field(default=300.0, gt=0, le=86400, description="The longest such pause.")
    delivery_poll_s: float = Field(default=1.0, gt=0, le=60, description="How often due deliveries are looked for.")
    sweep_s: float = Field(
        default=2.0, gt=0, le=60, description="How often tasks and commands without a hint are looked for."
    )

    delivery_private_allowed: Networks = Field(
        default="", description="Networks besides public ones that webhooks may reach: 10.1.0.0/16, fd00::/8."
    )

    retention_sweep_s: float = Field(
        default=60.0, gt=0, le=86400, description="How often what is old enough is archived or deleted."
    )
    evidence_grace_s: float = Field(
        default=3600.0, gt=0, le=30 * 86400, description="So long evidence without a link stays, for links under way."
    )
    delivery_folder: str = Field(
        default="", description="Existing folder below which endpoints of the kind folder write; empty: none may."
    )

    @field_validator("delivery_folder")
    @classmethod
    def _folder(cls, value: str) -> str:
        if value and not Path(value).is_absolute():
            raise ValueError("it must be an absolute path")
        return value

    @field_validator("delivery_schedule_s", mode="before")
    @classmethod
    def _schedule(cls, value: object) -> object:
        return parse_schedule(value) if isinstance(value, str) else value
