"""The collector's settings; the shared ones are in shared.runtime.settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.runtime.settings import Networks, ServiceSettings

PAGE_MAX = 200
PAGE_DEFAULT = 50


class CollectorSettings(ServiceSettings):
    """Read once from REGENTE_*."""

    http_port: int = Field(default=8001, ge=1, le=65535, description="Port of the partners' API.")
    cancel_wait_s: float = Field(default=2.0, ge=0, le=10, description="How long a DELETE waits for its command.")
    idempotency_hours: float = Field(
        default=48, ge=24, le=24 * 90, description="How long the first answer to an Idempotency-Key is kept."
    )
    idempotency_claim_s: float = Field(
        default=30,
        ge=1,
        le=600,
        description="After this much silence a request's Idempotency-Key is free for its retry.",
    )
    body_idle_s: float = Field(default=30, ge=1, le=600, description="Longest pause within a streamed body.")
    files_unused_days: float = Field(
        default=7, gt=0, le=3650, description="Days that a file stays which no task names (any more)."
    )
    files_account_gib: float = Field(default=20, gt=0, description="GiB of files that an account may hold.")
    files_sweep_s: float = Field(default=600, ge=1, description="Seconds between looks for files to delete.")
    schemas_kept: int = Field(default=256, ge=1, description="Compiled input schemas kept in memory.")
    sweep_s: float = Field(
        default=2.0, gt=0, le=60, description="How often requests that were not hinted at are looked for."
    )
    sources_private_allowed: Networks = Field(
        default="", description="Networks besides public ones that sources may reach: 10.1.0.0/16, fd00::/8."
    )
    sources_folder: Path | None = Field(
        default=None, description="Sources of kind folder read beneath <this>/<account>/; REGENTE_HOME/sources else."
    )
    sources_at_once: int = Field(default=8, ge=1, le=200, description="Sources that this process looks at, at once.")
    source_sweep_s: float = Field(
        default=0.5, gt=0, le=10, description="How often sources that are due are looked for."
    )
    source_lease_beat_s: float = Field(default=0.3, gt=0, le=2, description="How often this collector's lease moves.")
    source_lease_still_s: float = Field(
        default=6.0, ge=0.5, le=60, description="A collector whose lease stood still so long is dead; others take over."
    )

    @property
    def folder_root(self) -> Path:
        """Where the accounts' folders are."""
        return (self.sources_folder or self.home / "sources").absolute()
