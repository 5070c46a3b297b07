"""The criteria of an erasure, as one text. Called by: console (stores them, sealed), delivery (reads them). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

REFERENCES_MAX = 1000
FIELD_PATTERN = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,9}$"


def canonical(criteria: Mapping[str, Any]) -> str:
    """The same text for the same criteria: {references} or {field, value}, perhaps with {workflow}."""
    clean = {name: value for name, value in criteria.items() if value is not None}
    if clean.get("references"):
        clean["references"] = sorted(set(clean["references"]))
    return json.dumps(clean, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
