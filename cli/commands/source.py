"""`regente source`: where tasks come from by themselves; list, show, put, try, run, enable, disable, log, remove.

Called by: cli/main.py. A file holds title, workflow, enabled and settings, as docs/sources.md has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption
from cli.values_file import account_of, full_name, print_values, read_values

app = typer.Typer(help="Where tasks come from by themselves: pollers, folders, timers.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="[ACCOUNT/]NAME", help="The source.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Whose; the installation's account else.")]
FILE_FIELDS = ("title", "workflow", "enabled", "settings")


@app.command("list")
def list_all(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None, as_json: JsonOption = False
) -> None:
    """The sources of your accounts, and how they are doing."""
    with Client() as client:
        found = list(client.pages("sources", 10_000, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"], one["kind"], one["workflow"], _state(one), one["counters"]["taken"], one["counters"]["refused"],
            output.age(one["last_success_at"]), one["next_at"] or "",
        )
        for one in found
    ]  # fmt: skip
    output.print_table(
        ("name", "kind", "workflow", "state", "taken", "refused", "went well", "next look"), rows, "no source"
    )


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """One of them, as a file that can be put back."""
    with Client() as client:
        found = client.call("GET", _path(full_name(client, name)))
    if as_json:
        output.print_json(found)
        return
    print_values({field: found[field] for field in FILE_FIELDS})
    counters = ", ".join(f"{what} {count}" for what, count in found["counters"].items())
    typer.echo(f"# {_state(found)}; {counters}; cursor {found['cursor']!r}")
    if found["last_failure"]:
        typer.echo(f"# last failure {found['last_failure']['at']}: {found['last_failure']['reason']}")


@app.command()
def put(
    file: Annotated[str, typer.Argument(help="YAML or JSON; - reads standard input.")],
    name: Annotated[str | None, typer.Option("--name", help="Its name; the file's name else.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a source from a file, or put it in place of what was there."""
    values, wanted = read_values(file), _name(file, name)
    with Client() as client:
        done = client.call("PUT", _path(f"{account_of(client, account)}/{wanted}"), json=values)
    if as_json:
        output.print_json(done)
    else:
        output.say(f"{done['id']} is stored, {_state(done)}")


@app.command("try")
def try_one(
    name: Annotated[str | None, typer.Argument(metavar="[ACCOUNT/]NAME", help="A stored source.")] = None,
    file: Annotated[str | None, typer.Option("--file", help="Settings that aren't stored, as for put.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """See what a look would bring: fetched and mapped, but nothing stored, moved or acknowledged."""
    if (name is None) == (file is None):
        raise Usage("name a stored source, or a file with --file")
    body: dict[str, Any] = {}
    with Client() as client:
        if file is not None:
            values = read_values(file)
            body = {field: values[field] for field in ("workflow", "settings") if field in values}
            full = f"{account_of(client, account)}/{_name(file, None)}"
        else:
            full = full_name(client, str(name), account)
        tried = client.call("POST", f"{_path(full)}/try", json=body)
    if as_json:
        output.print_json(tried)
        return
    report = tried["report"]
    if report is None:
        output.say(f"it is not over yet; the request is {tried['command']}")
        return
    output.say(f"{report['came']} came, {report['would_be_taken']} would be taken, {report['refused']} refused")
    for one in report["items"]:
        output.say(f"  {one.get('reference')}: {one.get('input')}")
    for line in (*report["times"], *report["words"]):
        output.say(f"  {line}")
    _say_refusals(report["refusals"])


@app.command()
def run(name: NameArgument, as_json: JsonOption = False) -> None:
    """Look at it now, also when it is switched off."""
    with Client() as client:
        done = client.call("POST", f"{_path(full_name(client, name))}/run")
    if as_json:
        output.print_json(done)
    else:
        output.say(done["reason"] if done["state"] == "done" else "the look is under way")


@app.command()
def enable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Switch it on."""
    _switch(name, "enable", as_json)


@app.command()
def disable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Switch it off."""
    _switch(name, "disable", as_json)


@app.command()
def log(
    name: NameArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="So many looks.")] = 20,
    refusals: Annotated[bool, typer.Option("--refusals", help="Also why items were refused.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Its looks, newest first: what came, what was refused and why."""
    with Client() as client:
        found = list(client.pages(f"{_path(full_name(client, name))}/log", limit))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (one["at"], one["outcome"], one["came"], one["taken"], one["duplicates"], one["refused"], _about(one))
        for one in found
    ]
    output.print_table(("at", "", "came", "taken", "known", "refused", ""), rows, "no look yet")
    if refusals:
        for one in found:
            _say_refusals(one["refusals"])


@app.command()
def cursor(
    name: NameArgument,
    value: Annotated[str | None, typer.Argument(help="Where to begin; none: at the beginning.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Have the next look begin elsewhere; what is taken twice so is there before."""
    with Client() as client:
        done = client.call("PATCH", _path(full_name(client, name)), json={"cursor": value})
    if as_json:
        output.print_json(done)
    else:
        output.say(f"{done['id']} begins at {done['cursor']!r}")


@app.command()
def remove(name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a source. Its tasks and its log stay."""
    with Client() as client:
        full = full_name(client, name)
        client.call("DELETE", _path(full))
    if as_json:
        output.print_json({"id": full, "removed": True})
    else:
        output.say(f"{full} is removed")


def _switch(name: str, what: str, as_json: bool) -> None:
    with Client() as client:
        done = client.call("POST", f"{_path(full_name(client, name))}/{what}")
    if as_json:
        output.print_json(done)
    else:
        output.say(f"{done['id']} is {_state(done)}")


def _path(full: str) -> str:
    return f"sources/{quote(full)}"


def _name(file: str, name: str | None) -> str:
    wanted = name or (Path(file).stem if file != "-" else None)
    if not wanted:
        raise Usage("what is it called? name it with --name")
    return wanted


def _state(one: dict[str, Any]) -> str:
    if not one["enabled"]:
        return "off"
    return "down" if one["down"] else "failing" if one["failures"] else "on"


def _about(look: dict[str, Any]) -> str:
    missed = look["missed"]
    parts = [look["reason"] or "", *look["words"], f"{missed['count']} times missed" if missed else ""]
    parts += [f"{one['name']} -> {one['to']}" for one in look["files"][:3]]
    return "; ".join(part for part in parts if part)


def _say_refusals(refusals: list[dict[str, Any]]) -> None:
    for one in refusals:
        for error in one["errors"]:
            place = f"{one['place']} " if one.get("place") else ""
            output.say(f"  refused {place}{one['reference']}: {error['path']} {error['message']}")
