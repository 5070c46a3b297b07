"""The table of every service's settings, out of the classes that read them.

Called by: generate.py. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from services.alerts.config import AlertsSettings
from services.collector.config import CollectorSettings
from services.console.config import ConsoleSettings
from services.delivery.config import DeliverySettings
from services.executor.config import ExecutorSettings
from services.scheduler.config import SchedulerSettings
from shared.runtime.settings import PREFIX, ServiceSettings

SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "console": ConsoleSettings, "collector": CollectorSettings, "scheduler": SchedulerSettings,
    "executor": ExecutorSettings, "delivery": DeliverySettings, "alerts": AlertsSettings,
}  # fmt: skip


def page() -> str:
    """docs/settings.md."""
    everybody = [name for name in ServiceSettings.model_fields if name not in ("http_port",)]
    lines = [
        "# Settings of the services",
        "",
        "Written by `make docs` out of the code; not to be edited.",
        "",
        "Every setting is an environment variable, read once at the start; a wrong one ends the service with a line "
        "that names it. `<NAME>_FILE` instead of `<NAME>` names a file that holds the value: so should whatever is "
        "secret come. The robots' settings stand in agent/README.md.",
        "",
        "## Every service",
        "",
        *_table({name: ServiceSettings.model_fields[name] for name in everybody}),
    ]
    for service, settings in SETTINGS.items():
        own = {name: field for name, field in settings.model_fields.items() if name not in everybody}
        lines += ["", f"## {service}", "", *_table(own)]
    return "\n".join([*lines, ""])


def _table(fields: Mapping[str, Any]) -> list[str]:
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in fields.items():
        rows.append(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {(field.description or '').replace('|', '/')} |")
    return rows


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**must be set**"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(f"{one:g}" for one in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if str(value) else ""
