"""The executor's settings, read once from the environment (REGENTE_*)."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.mail_settings import MailSettings
from shared.runtime.settings import Networks


class ExecutorSettings(MailSettings):
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
    host_calls_max: int = Field(
        default=200_000, ge=1, description="Calls out of the scripts of one run: also log lines, the time, short waits."
    )
    decisions_max: int = Field(default=100, ge=1, description="Questions to people that one run may ask.")
    blob_size_bytes_max: int = Field(default=64 * 1024 * 1024, ge=1024, description="Largest piece of evidence.")
    executor_url: str = Field(default="http://127.0.0.1:8003", description="Where robots reach this service.")
    http_private_allowed: Networks = Field(
        default="", description="Networks besides public ones that http.request may reach: 10.1.0.0/16, fd00::/8."
    )
    http_per_host_max: int = Field(default=8, ge=1, le=1000, description="Requests of scripts to one host at once.")
    jobs_max: int = Field(default=8, ge=1, le=1000, description="Registered commands that run at once.")
    unsealed_robots_allowed: bool = Field(
        default=False,
        description="Whether robots whose agents can't open sealed arguments are sent secrets as they are.",
    )
    job_user: str = Field(default="", description="User that registered commands run as, when the executor is root.")
