"""Settings of workflows and accounts: from the words of workflow.yaml to the stored document, and changes to it.

Called by: store/publish.py (first values), store/workflows.py and store/accounts.py (changes). Change also:
shared/contracts/settings_file.py and the readers of the stored form: shared/domain/gates.py, executor and delivery.
Stored durations are named with their unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.contracts.settings_file import AccountSettings, Settings
from shared.contracts.workflow_file import Scenario, WorkflowFile

DURATIONS = (("retry", "delay"), ("aging", "every"), ("pacing", "pause_max"), ("pacing", "find_max"))
"""Fields whose stored name carries the unit: `retry.delay` is stored as `retry.delay_s`."""
MERGED = ("retry", "concurrency", "breaker", "pacing")
"""Parts of which a change may name some fields only; every other part is replaced as a whole."""
NAMING = {"holidays": "calendars", "portals": "portals"}
"""Settings that name documents of the account, and the collections in which these are."""


def stored_settings(settings: Settings) -> dict[str, Any]:
    """The document that `workflows.settings` holds."""
    document = settings.model_dump(mode="json")
    for part, field in DURATIONS:
        if document[part] is not None:
            document[part][f"{field}_s"] = document[part].pop(field)
    return document


def settings_words(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings (or some of them) in the words of workflow.yaml; durations are numbers of seconds."""
    words = dict(stored)
    for part, field in DURATIONS:
        value = words.get(part)
        if isinstance(value, Mapping) and f"{field}_s" in value:
            rest = {name: one for name, one in value.items() if name != f"{field}_s"}
            words[part] = {**rest, field: value[f"{field}_s"]}
    return words


def change_settings(current: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings with the fields of `change` in their place; MERGED parts are merged field by field.

    change: in the words of workflow.yaml or with stored names. Raises: pydantic.ValidationError when the result is not
    allowed.
    """
    before, wanted = settings_words(current), settings_words(change)
    merged = {**before, **wanted}
    for part in MERGED:
        if part not in wanted or isinstance(wanted[part], Mapping):
            merged[part] = {**(before.get(part) or {}), **wanted.get(part, {})}
    return stored_settings(Settings.model_validate(merged))


def change_account_settings(current: Mapping[str, Any] | None, change: Mapping[str, Any]) -> dict[str, Any]:
    """An account's stored settings with the fields of `change` in their place.

    Raises: pydantic.ValidationError when the result is not allowed.
    """
    return AccountSettings.model_validate({**(current or {}), **change}).model_dump(mode="json")


def account_settings(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """An account's settings, with defaults for what an older document leaves out."""
    return change_account_settings(stored, {})


def stored_version(definition: WorkflowFile) -> dict[str, Any]:
    """The fields of a version's document that come from workflow.yaml."""
    return {
        "title": definition.title,
        "input": definition.input,
        "timeouts": {"task_s": definition.timeouts.task, "instruction_s": definition.timeouts.instruction},
        "scenarios": [_stored_scenario(scenario) for scenario in definition.scenarios],
    }


def _stored_scenario(scenario: Scenario) -> dict[str, Any]:
    document = scenario.model_dump(mode="json")
    if scenario.warm is not None:
        document["warm"] = {"keep_alive_s": scenario.warm.keep_alive}
    return document
