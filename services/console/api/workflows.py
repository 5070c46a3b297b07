"""Workflows, writing: check, publish and settings, under /api/v1/workflows."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, Field

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import problems
from services.console.api.models import Body, Name, NamePath, View
from services.console.api.settings_change import SettingsChange
from services.console.api.workflow_reads import WorkflowView
from services.console.store import publish as store
from services.console.store import workflows
from shared.contracts.workflow_file import FILES_MAX, FILES_SIZE_BYTES_MAX
from shared.runtime.http import Problem
from shared.script.check import Checked

router = APIRouter(tags=["workflows"], responses=problems())

FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"


def _size(files: dict[str, str]) -> dict[str, str]:
    if sum(len(text.encode()) for text in files.values()) > FILES_SIZE_BYTES_MAX:
        raise ValueError(f"a workflow's files have at most {FILES_SIZE_BYTES_MAX} bytes in all")
    return files


Files = Annotated[
    dict[Annotated[str, Field(pattern=FILE_NAME, max_length=200)], str],
    Field(max_length=FILES_MAX, description="The folder's files: their texts by their names."),
    AfterValidator(_size),
]


class FilesToCheck(Body):
    """A workflow's folder."""

    account: Name | None = Field(default=None, description="Not used yet.")
    files: Files


class FilesToPublish(Body):
    """A workflow's folder, to be published."""

    account: Name
    files: Files
    publish: Literal[True] = Field(default=True, description="To check only, use /workflows/check.")
    settings: bool = Field(default=False, description="Overwrite the settings with the file's.")


class WarningView(View):
    """What looks wrong, but may be meant."""

    file: str = Field(description="Where.")
    line: int | None = Field(description="Line in it.")
    message: str = Field(description="What.")


class CheckedView(View):
    """Nothing is wrong."""

    name: str = Field(description="The workflow's name.")
    digest: str = Field(description="SHA-256 over its files.")
    errors: list[str] = Field(description="Always empty: what is wrong comes as a problem, 422.")
    warnings: list[WarningView] = Field(description="Such as objects that no script uses.")


class PublishedView(View):
    """What became of a publication."""

    name: str = Field(description="The workflow's name.")
    number: int = Field(description="The version's number.")
    digest: str = Field(description="SHA-256 over its files.")
    unchanged: bool = Field(description="The current version has these files already.")
    warnings: list[WarningView] = Field(description="Such as objects that no script uses.")


@router.post("/workflows/check")
async def check(body: FilesToCheck, viewer: Reader, context: ContextOf) -> CheckedView:
    """Check a workflow's folder; nothing is stored."""
    checked = await store.check(context, body.files)
    refuse_errors(checked)
    assert checked.definition is not None
    return CheckedView(name=checked.definition.name, digest=checked.digest, errors=[], warnings=_warnings(checked))


@router.post("/workflows")
async def publish(body: FilesToPublish, viewer: Admin, context: ContextOf) -> PublishedView:
    """Check a workflow's folder, and publish it as a new version unless the current one has the same files."""
    checked = await store.check(context, body.files)
    refuse_errors(checked)
    done = await store.publish(context, viewer, body.account, body.files, checked, settings=body.settings)
    return PublishedView(
        name=done.name,
        number=done.number,
        digest=done.digest,
        unchanged=done.unchanged,
        warnings=_warnings(checked),
    )


@router.patch("/workflows/{account}/{name}/settings")
async def patch_settings(
    account: NamePath, name: NamePath, body: SettingsChange, viewer: Admin, context: ContextOf
) -> WorkflowView:
    """Change how a workflow is run, from now on; what is left out stays."""
    change = body.model_dump(mode="json", exclude_unset=True)
    return WorkflowView.of(await workflows.patch_settings(context, viewer, account, name, change))


def _warnings(checked: Checked) -> list[WarningView]:
    return [WarningView(file=one.file, line=one.line, message=one.message) for one in checked.warnings]


def refuse_errors(checked: Checked) -> None:
    """Raises: Problem 422 with what is wrong, file by file."""
    if not checked.errors and checked.definition is not None:
        return
    errors = [{"file": one.file, "line": one.line, "message": one.message} for one in checked.errors]
    first = checked.errors[0]
    where = f"{first.file}{f':{first.line}' if first.line else ''}: " if first.file else ""
    raise Problem(422, f"{where}{first.message}", code="INVALID_INPUT", errors=errors)
