"""Settings of a workflow: from the words of workflow.yaml to the stored document, and changes to it.

Called by: store/publish.py (first values), store/workflows.py (changes). Change also:
shared/contracts/workflow_file.py and the readers of workflows.settings in scheduler, executor and delivery. Stored
durations are named with their unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.contracts.workflow_file import Settings, WorkflowFile


def stored_settings(settings: Settings) -> dict[str, Any]:
    """The document that `workflows.settings` holds."""
    document = settings.model_dump(mode="json")
    document["retry"]["delay_s"] = document["retry"].pop("delay")
    return document


def change_settings(current: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings with the fields of `change` (stored names, too) in their place; `retry` is merged field by field.

    Raises: pydantic.ValidationError when the result is not allowed.
    """
    merged = {**current, **change}
    retry = {**(current.get("retry") or {}), **(change.get("retry") or {})}
    if "delay_s" in retry:
        retry["delay"] = retry.pop("delay_s")
    merged["retry"] = retry
    return stored_settings(Settings.model_validate(merged))


def stored_version(definition: WorkflowFile) -> dict[str, Any]:
    """The fields of a version's document that come from workflow.yaml."""
    return {
        "title": definition.title,
        "input": definition.input,
        "timeouts": {"task_s": definition.timeouts.task, "instruction_s": definition.timeouts.instruction},
        "scenarios": [scenario.model_dump(mode="json") for scenario in definition.scenarios],
    }
