"""What a workflow's folder may say: the models of workflow.yaml and objects.yaml.

Called by: shared.script (parses and checks a folder), services/console (publish), scheduler and executor (read a
version). Change also: docs/workflows.md, the demo workflow. How a workflow is run (`settings`) stands in
settings_file.py. Unknown fields are refused by name, so that a slip of the pen is not silently ignored."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from shared.contracts.conditions import Operator, value_problem
from shared.contracts.parts import NAME_PATTERN, Name, Part, Seconds, Tag
from shared.contracts.settings_file import Settings

FILES_MAX = 64
FILES_SIZE_BYTES_MAX = 256 * 1024
SCRIPT_SIZE_BYTES_MAX = 64 * 1024
OBJECTS_MAX = 1000
ENVIRONMENTS_MAX = 10
SELECTOR_CHARS_MAX = 2000


class Timeouts(Part):
    """How long things may take."""

    task: Seconds = Field(default=1800.0, gt=0, description="One attempt at one task, in all.")
    instruction: Seconds = Field(default=60.0, gt=0, le=3600, description="One instruction, at least.")


FieldPath = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}(\.[A-Za-z_][A-Za-z0-9_-]{0,62}){0,4}$")]
"""A field of the input, with dots for fields within fields."""
Scalar = str | int | float | bool | None


class Condition(Part):
    """One condition on a field of a task's input."""

    field: FieldPath = Field(description="Such as `kind`, or `person.country`.")
    op: Operator = Field(default=Operator.EQ, description="How it is compared.")
    value: Scalar | list[Scalar] = Field(default=None, description="With what; a list for in and not_in.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problem = value_problem(self.op, self.value)
        if problem is not None:
            raise ValueError(problem)
        return self


class Warm(Part):
    """A run that is kept ready on robots that are exclusive to the workflow: setup is done, tasks start at once."""

    keep_alive: Seconds = Field(ge=1, le=86400, description="How often keepalive(group) runs while nothing is to do.")


class Scenario(Part):
    """One scenario: a script with setup, execute and teardown, and how many tasks it takes at once."""

    name: str = Field(pattern=NAME_PATTERN, description="Unique in the workflow.")
    when: list[Condition] = Field(default=[], max_length=20, description="All must hold; empty: every task.")
    group_by: list[FieldPath] = Field(default=[], max_length=5, description="Tasks of a run share these input fields.")
    tags: list[Tag] = Field(default=[], max_length=20, description="A robot needs all of them.")
    max_tasks: int = Field(default=10, ge=1, le=1000, description="Tasks of one run.")
    worker: bool = Field(default=True, description="Whether it needs a robot; false: the server runs it alone.")
    warm: Warm | None = Field(default=None, description="Null: no run of it is kept ready.")
    script: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*\.py$", description="Its file in the folder.")

    @model_validator(mode="after")
    def _without_a_robot(self) -> Self:
        if self.tags and not self.worker:
            raise ValueError("tags are what a robot must have, and worker: false needs none; leave one of them out")
        if self.warm is not None and not self.worker:
            raise ValueError("warm keeps a robot ready, and worker: false needs none; leave one of them out")
        return self


class WorkflowFile(Part):
    """workflow.yaml."""

    name: str = Field(pattern=NAME_PATTERN, description="Unique in the account.")
    title: str = Field(default="", max_length=200, description="For people.")
    input: dict[str, Any] = Field(default_factory=lambda: {"type": "object"}, description="JSON Schema of inputs.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long things may take.")
    scenarios: list[Scenario] = Field(
        min_length=1, max_length=20, description="The first one that fits a task takes it."
    )
    settings: Settings = Field(default_factory=Settings, description="First values of the settings.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [scenario.name for scenario in self.scenarios]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two scenarios are called {twice[0]}; give each its own name")
        return self


Selector = Annotated[str, Field(min_length=1, max_length=SELECTOR_CHARS_MAX)]
Selectors = Annotated[list[Selector], Field(min_length=1, max_length=10)]


class ObjectOverride(Part):
    """What an object is in one environment."""

    selectors: Selectors = Field(description="They take the place of the object's own.")


class ObjectDef(Part):
    """One entry of objects.yaml."""

    selectors: Selectors = Field(description="Tried in order: css=, text=, label=, role= ...")
    title: str = Field(default="", max_length=200, description="For people.")
    environments: dict[Name, ObjectOverride] = Field(
        default={}, max_length=ENVIRONMENTS_MAX, description="Other selectors where the environment is so called."
    )


SELECTOR_KINDS = ("css", "xpath", "text", "label", "placeholder", "title", "testid", "role")
SELECTOR_PATTERN = re.compile(rf"^(?P<kind>{'|'.join(SELECTOR_KINDS)})=(?P<text>.+)$", re.DOTALL)
ROLE_PATTERN = re.compile(r"(?P<role>[a-z]+)(?:\[name=(?P<quote>[\"']?)(?P<name>.*)(?P=quote)\])?")
"""What stands behind role=."""
OBJECT_NAME_PATTERN = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
