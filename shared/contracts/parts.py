"""What the models of workflow.yaml and of settings are made of: names, times, tags.

Called by: workflow_file.py, settings_file.py. Change also: docs/workflows.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,62}$")]
"""What a robot has and a scenario may need, such as `sap` or `windows-11`."""


class Part(BaseModel):
    """Base of every part: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
