"""The executor's settings, read once from the environment (REGENTE_*)."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ServiceSettings


class ExecutorSettings(ServiceSettings):
    """Settings of services/executor."""

    runs_max: int = Field(default=50, ge=1, le=1000, description="Runs in hand at once; each is one subprocess.")
    resend_s: float = Field(default=2.0, gt=0, le=60, description="Silence after which an instruction is sent again.")
    lease_beat_s: float = Field(default=0.3, gt=0, le=5, description="How often the lease's counter moves.")
    lease_gone_s: float = Field(
        default=1.2, gt=0, description="A lease that stood still so long, without connection, is dead."
    )
    lease_still_s: float = Field(default=8.0, gt=0, description="A lease that stood still so long is dead in any case.")
    sweep_s: float = Field(default=1.0, gt=0, le=60, description="How often what was not hinted at is looked for.")
    script_memory_bytes_max: int = Field(
        default=64 * 1024 * 1024, ge=8 * 1024 * 1024, description="Memory of one script."
    )
    script_turn_s: float = Field(default=5.0, gt=0, le=60, description="Computing time between two host calls.")
    instructions_max: int = Field(default=10_000, ge=1, description="Instructions of one run.")
    blob_size_bytes_max: int = Field(default=64 * 1024 * 1024, ge=1024, description="Largest piece of evidence.")
    executor_url: str = Field(default="http://127.0.0.1:8003", description="Where robots reach this service.")
