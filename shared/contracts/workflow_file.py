"""What a workflow's folder may say: the models of workflow.yaml and objects.yaml.

Called by: shared.script.check (parses and checks a folder), services/console (publish), scheduler and executor (read
a version). Change also: docs/workflows.md, the demo workflow. Unknown fields are refused by name, so that a slip of
the pen is not silently ignored. Fields of later features (windows, limits, aging, conditions) are refused too until
they work."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FILES_MAX = 64
FILES_SIZE_BYTES_MAX = 256 * 1024
SCRIPT_SIZE_BYTES_MAX = 64 * 1024
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: Any) -> Any:
    """Read '30m', '60s', '1.5h', '2d' or a number of seconds.

    Raises: ValueError when it is none of these.
    """
    if isinstance(value, bool):
        raise ValueError("a time is written like 30s, 5m, 2h or 1d")
    if isinstance(value, int | float):
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", str(value))
    if match is None:
        raise ValueError(f"{value!r} is no time; write it like 30s, 5m, 2h or 1d")
    return float(match[1]) * _UNITS_S[match[2]]


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timeouts(_Part):
    """How long things may take."""

    task: Seconds = Field(default=1800.0, gt=0, description="One attempt at one task, in all.")
    instruction: Seconds = Field(default=60.0, gt=0, le=3600, description="One instruction, at least.")


class Scenario(_Part):
    """One scenario: a script with setup, execute and teardown, and how many tasks it takes at once."""

    name: str = Field(pattern=NAME_PATTERN, description="Unique in the workflow.")
    max_tasks: int = Field(default=10, ge=1, le=1000, description="Tasks of one run.")
    worker: Literal[True] = Field(default=True, description="Whether it needs a robot (false comes later).")
    script: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*\.py$", description="Its file in the folder.")


class Retry(_Part):
    """What follows from a system failure."""

    attempts: int = Field(default=1, ge=1, le=20, description="Attempts in all.")
    position: Literal["end", "front"] = Field(default="end", description="Where a retried task joins its list.")
    delay: Seconds = Field(default=60.0, le=7 * 86400, description="Wait before the next attempt.")
    in_doubt: Literal["hold", "fail", "retry"] = Field(default="hold", description="When nobody knows if it was done.")


class Price(_Part):
    """What a dispatch costs."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.")
    per_dispatch: str = Field(pattern=r"^\d{1,9}(\.\d{1,6})?$", description="A decimal number, quoted.")


class DeliverySettings(_Part):
    """Who hears of outcomes."""

    endpoint: str = Field(pattern=NAME_PATTERN, description="Name of the account's endpoint.")
    events: list[Literal["succeeded", "failed", "held", "cancelled", "expired"]] = Field(
        default=["succeeded", "failed", "held", "cancelled", "expired"], description="Which events are sent."
    )


class Settings(_Part):
    """How the workflow is run; can be edited at any time without a new version."""

    priority: int = Field(default=1, ge=0, le=5, description="Of tasks without one of their own.")
    timezone: str = Field(default="UTC", max_length=64, description="IANA name; for windows and limits.")
    retry: Retry = Field(default_factory=Retry, description="What follows from a system failure.")
    price: Price | None = Field(default=None, description="None: free.")
    delivery: DeliverySettings | None = Field(default=None, description="None: partners poll the results feed.")


class WorkflowFile(_Part):
    """workflow.yaml."""

    name: str = Field(pattern=NAME_PATTERN, description="Unique in the account.")
    title: str = Field(default="", max_length=200, description="For people.")
    input: dict[str, Any] = Field(default_factory=lambda: {"type": "object"}, description="JSON Schema of inputs.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long things may take.")
    scenarios: list[Scenario] = Field(min_length=1, max_length=1, description="One, for now.")
    settings: Settings = Field(default_factory=Settings, description="First values of the settings.")


class ObjectDef(_Part):
    """One entry of objects.yaml."""

    selectors: list[str] = Field(min_length=1, max_length=10, description="Tried in order: css=, text=, label=, role=.")
    title: str = Field(default="", max_length=200, description="For people.")


SELECTOR_PATTERN = re.compile(r"^(css|text|label|role|placeholder|testid|xpath)=.+$")
OBJECT_NAME_PATTERN = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
