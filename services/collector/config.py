"""The collector's settings; the shared ones are in shared.runtime.settings."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ServiceSettings

PAGE_MAX = 200
PAGE_DEFAULT = 50


class CollectorSettings(ServiceSettings):
    """Read once from REGENTE_*."""

    http_port: int = Field(default=8001, ge=1, le=65535, description="Port of the partners' API.")
    cancel_wait_s: float = Field(default=2.0, ge=0, le=10, description="How long a DELETE waits for its command.")
    schemas_kept: int = Field(default=256, ge=1, description="Compiled input schemas kept in memory.")
