"""Changes to settings, as callers send them: the models of settings_file.py, of which any field may be left out.

Called by: api/workflows.py, api/accounts.py, api/workers.py. What is left out stays as it is, so no default of the
model counts here. Change also: shared/contracts/settings_file.py, core/settings.py (what is merged field by field).
"""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, ConfigDict, Field

from services.console.api.models import Body
from shared.contracts.parts import Name, Seconds, Tag
from shared.contracts.settings_file import (
    AccountSettings,
    Breaker,
    Concurrency,
    DeliverySettings,
    Limits,
    Pacing,
    Price,
    Retry,
    Settings,
    TimeZone,
    WarmSettings,
    Windows,
)

MERGED = "What is left out of it stays."


def without_defaults(schema: dict[str, Any]) -> None:
    """Take the defaults out of a JSON schema: here a field that is left out is one that stays."""
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class RetryChange(Retry):
    """What follows from a system failure; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    delay: Seconds = Field(
        default=60.0,
        le=7 * 86400,
        validation_alias=AliasChoices("delay_s", "delay"),
        description="Wait before the next attempt, seconds; also `delay`, as in workflow.yaml.",
    )


class AgingChange(Body):
    """How waiting raises a task."""

    every: Seconds = Field(
        ge=1,
        le=30 * 86400,
        validation_alias=AliasChoices("every_s", "every"),
        description="One level up for each such time waited, seconds; also `every`, as in workflow.yaml.",
    )


class ConcurrencyChange(Concurrency):
    """What may run at once; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)


class BreakerChange(Breaker):
    """What holds the whole workflow; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)


class PacingChange(Pacing):
    """Adaptive waits; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    pause_max: Seconds = Field(
        default=5.0, le=60, validation_alias=AliasChoices("pause_max_s", "pause_max"),
        description="Longest pause before an instruction, seconds; also `pause_max`, as in workflow.yaml.",
    )  # fmt: skip
    find_max: Seconds = Field(
        default=60.0, ge=1, le=600, validation_alias=AliasChoices("find_max_s", "find_max"),
        description="Longest learned wait for an element, seconds; also `find_max`, as in workflow.yaml.",
    )  # fmt: skip


_FIELDS = Settings.model_fields


class SettingsChange(Body):
    """Settings of a workflow to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    priority: int = Field(default=1, ge=0, le=5, description=_FIELDS["priority"].description)
    aging: AgingChange | None = Field(default=None, description="null: waiting raises nothing.")
    timezone: TimeZone = Field(default="UTC", description=_FIELDS["timezone"].description)
    windows: Windows = Field(default=[], description=_FIELDS["windows"].description)
    holidays: list[Name] = Field(default=[], max_length=20, description=_FIELDS["holidays"].description)
    portals: list[Name] = Field(default=[], max_length=20, description=_FIELDS["portals"].description)
    limits: Limits = Field(default=[], description=_FIELDS["limits"].description)
    count_system_failures: bool = Field(default=False, description=_FIELDS["count_system_failures"].description)
    concurrency: ConcurrencyChange = Field(default_factory=ConcurrencyChange, description=MERGED)
    tags: list[Tag] = Field(default=[], max_length=20, description=_FIELDS["tags"].description)
    breaker: BreakerChange = Field(default_factory=BreakerChange, description=MERGED)
    warm: WarmSettings | None = Field(default=None, description=_FIELDS["warm"].description)
    retry: RetryChange = Field(default_factory=RetryChange, description=MERGED)
    environment: Name | None = Field(default=None, description="null: the account's, else none.")
    pacing: PacingChange = Field(default_factory=PacingChange, description=MERGED)
    price: Price | None = Field(default=None, description="null: free.")
    delivery: DeliverySettings | None = Field(default=None, description="null: partners poll the results feed.")


class AccountSettingsChange(AccountSettings):
    """Settings of an account to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)
