"""`regente workflow`: check (offline, or against a run that was: see workflow_replay.py) and push.

hold, release and settings are in workflow_hold.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.commands.workflow_replay import replay, wanted_account
from cli.errors import Refused, Usage
from cli.output import JsonOption
from shared.contracts.workflow_file import FILES_MAX, FILES_SIZE_BYTES_MAX
from shared.script.check import Checked, check_workflow

SUFFIXES = {".yaml", ".yml", ".py", ".json", ".md", ".txt"}
DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The workflow's folder.")]

app = typer.Typer(help="Workflows: check a folder, publish it.", no_args_is_help=True)


@app.command()
def check(
    directory: DirArgument,
    run: Annotated[
        str | None,
        typer.Option("--replay", metavar="RUN", help="Play this run's journal with the folder's scripts."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="With --replay: whose run it is.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a workflow's folder; needs no server. With --replay: say where it would act otherwise than
    a run that has ended did; nothing is performed. The exit code is 1 then, too."""
    files = read_folder(directory)
    checked = asyncio.run(check_workflow(files))
    if run is not None and not checked.errors:
        replay(files, run, account, as_json=as_json)
        return
    if as_json:
        errors = [{"file": one.file, "line": one.line, "message": one.message} for one in checked.errors]
        warnings = [{"file": one.file, "line": one.line, "message": one.message} for one in checked.warnings]
        output.print_json({"errors": errors, "warnings": warnings, "digest": checked.digest})
    _complain(directory, checked)
    _warn(directory, [(one.file, one.line, one.message) for one in checked.warnings])
    if not as_json and checked.definition is not None:
        output.say(f"{checked.definition.name}: nothing is wrong")


@app.command()
def push(
    directory: DirArgument,
    settings: Annotated[bool, typer.Option("--settings", help="Overwrite the settings with the file's.")] = False,
    account: Annotated[str | None, typer.Option(help="Where it is published; the installation's account else.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a workflow's folder as a new version, unless the current one has the same files."""
    files = read_folder(directory)
    with Client() as client:
        wanted = wanted_account(client, account)
        body = {"account": wanted, "files": files, "publish": True, "settings": settings}
        done = client.call("POST", "workflows", json=body)
    _warn(directory, [(one["file"], one["line"], one["message"]) for one in done.get("warnings", [])])
    if as_json:
        output.print_json(done)
        return
    what = "is current already" if done["unchanged"] else "published"
    output.say(f"{wanted}/{done['name']} version {done['number']} {what}")


def read_folder(directory: Path) -> dict[str, str]:
    """The texts of a workflow's folder by their names relative to it; hidden files and caches are left out.

    Raises: Usage.
    """
    if not directory.is_dir():
        raise Usage(f"{directory} is no folder")
    files: dict[str, str] = {}
    size_bytes = 0
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if not path.is_file() or path.suffix not in SUFFIXES or any(part[0] in "._" for part in name.parts):
            continue
        data = path.read_bytes()
        size_bytes += len(data)
        if len(files) >= FILES_MAX or size_bytes > FILES_SIZE_BYTES_MAX:
            raise Usage(f"{directory} holds more than {FILES_MAX} files or {FILES_SIZE_BYTES_MAX} bytes")
        try:
            files[name.as_posix()] = data.decode()
        except UnicodeDecodeError as error:
            raise Usage(f"{path} is not UTF-8") from error
    if "workflow.yaml" not in files:
        raise Usage(f"{directory} holds no workflow.yaml")
    return files


def _warn(directory: Path, warnings: Sequence[tuple[str, int | None, str]]) -> None:
    for file, line, message in warnings:
        output.note(f"{directory / file}{f':{line}' if line else ''}: warning: {message}")


def _complain(directory: Path, checked: Checked) -> None:
    if not checked.errors:
        return
    for one in checked.errors:
        line = f":{one.line}" if one.line else ""
        typer.echo(f"{directory / one.file if one.file else directory}{line}: {one.message}", err=True)
    count = len(checked.errors)
    raise Refused(f"{count} thing{' is' if count == 1 else 's are'} wrong in {directory}")
