"""Alerts' settings; the shared ones are in shared.runtime.settings."""

from __future__ import annotations

from pydantic import Field, field_validator

from services.alerts.notify.settings import NotifySettings

SERVICES = "console,collector,scheduler,executor,delivery,alerts"


class AlertsSettings(NotifySettings):
    """Read once from REGENTE_*."""

    http_port: int = Field(default=8005, ge=1, le=65535, description="Port of health and metrics.")
    alerts_evaluate_s: float = Field(
        default=5.0, gt=0, le=300, description="How often rules are read and conditions looked at."
    )
    alerts_forecast_s: float = Field(default=30.0, gt=0, le=3600, description="How often deadlines are forecast.")
    alerts_health_s: float = Field(
        default=3.0, gt=0, le=60, description="How often broker, database and services are looked at."
    )
    alerts_figures_s: float = Field(
        default=10.0, gt=0, le=300, description="How often the leader reads the figures of the database for /metrics."
    )
    alerts_still_s: float = Field(
        default=15.0, gt=0, le=600, description="An instance whose lease stood still for so long is down."
    )
    alerts_services: str = Field(
        default=SERVICES, description="Services that must answer at their addresses, by comma; empty: none."
    )
    alerts_keep_days: int = Field(default=400, ge=1, le=3650, description="Days that resolved alerts stay.")
    canary_timeout_s: float = Field(
        default=50.0, gt=0, le=3600, description="A canary that is not through after so long is lost."
    )
    sweep_s: float = Field(
        default=1.0, gt=0, le=60, description="How often events and commands without a hint are looked for."
    )

    @field_validator("alerts_services")
    @classmethod
    def _services(cls, value: str) -> str:
        unknown = {name.strip() for name in value.split(",") if name.strip()} - set(SERVICES.split(","))
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; there are {SERVICES}")
        return value

    @property
    def watched(self) -> dict[str, str]:
        """Address of each service that must answer, by its name."""
        names = [name.strip() for name in self.alerts_services.split(",") if name.strip()]
        return {name: str(getattr(self, f"{name}_url")).rstrip("/") for name in names}
