"""Settings of the console: those of every service, and where the other services are. Read once at start."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import Networks, ServiceSettings


class ConsoleSettings(ServiceSettings):
    """Environment variables REGENTE_*."""

    http_port: int = Field(default=8000, ge=1, le=65535, description="Port of API and pages.")
    session_hours: float = Field(default=12, gt=0, le=24 * 30, description="How long a log-in lasts, hours.")
    command_wait_s: float = Field(default=3, ge=0, le=30, description="How long an action waits for its outcome.")
    pages: bool = Field(default=True, description="Whether the web pages are served, or the API only.")
    cookie_secure: bool = Field(default=False, description="Set the session cookie for HTTPS only.")
    delivery_private_allowed: Networks = Field(
        default="", description="Networks besides public ones that webhooks may reach: 10.1.0.0/16, fd00::/8."
    )
    alerts_private_allowed: Networks = Field(
        default="", description="Networks besides public ones that messages about alerts may reach; as alerts has it."
    )
    alerts_silent_s: float = Field(
        default=15.0, gt=0, le=3600,
        description="Nobody leads alerts for so long: it is silent. The takeover of a dead leader's lease takes 8.",
    )  # fmt: skip
    alerts_runbook_url: str = Field(
        default="",
        description="Where runbooks are, as alerts has it; {kind} becomes its kind. Empty: the console's pages.",
    )
