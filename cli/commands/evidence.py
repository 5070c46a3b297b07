"""`regente evidence`: get."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import httpx
import typer

from cli import output
from cli.client import Client
from cli.errors import Refused
from cli.output import JsonOption

app = typer.Typer(help="Evidence: screenshots and files that robots kept.", no_args_is_help=True)


@app.callback()
def evidence() -> None:
    """Evidence: screenshots and files that robots kept."""


@app.command()
def get(
    evidence_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as task show prints it.")],
    out: Annotated[str | None, typer.Option("--out", "-o", help="Where to write it; - is standard output.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the bytes; they are compared with their hash before they are written."""
    with Client() as client:
        answer = client.fetch("GET", f"evidence/{evidence_id}")
    sha256 = hashlib.sha256(answer.content).hexdigest()
    if answer.headers.get("etag", "").strip('"') != sha256:
        raise Refused(f"the bytes of {evidence_id} do not have the hash that was stored with them")
    if out == "-":
        sys.stdout.buffer.write(answer.content)
        return
    path = Path(out or _name(answer, evidence_id))
    if path.is_dir():
        path = path / _name(answer, evidence_id)
    path.write_bytes(answer.content)
    if as_json:
        output.print_json({"id": evidence_id, "file": str(path), "size_bytes": len(answer.content), "sha256": sha256})
    else:
        output.say(f"{path}  {len(answer.content)} bytes  sha256 {sha256}")


def _name(answer: httpx.Response, evidence_id: str) -> str:
    """The stored name, without anything that could lead out of the folder."""
    match = re.search(r"filename\*=UTF-8''(\S+)", answer.headers.get("content-disposition", ""))
    name = re.sub(r"[^\w.-]+", "-", unquote(match[1])).strip(".-") if match else ""
    subtype = answer.headers.get("content-type", "").split(";")[0].partition("/")[2]
    suffix = {"png": ".png", "jpeg": ".jpg", "pdf": ".pdf", "plain": ".txt"}.get(subtype, "")
    return (name or evidence_id) + ("" if Path(name).suffix else suffix)
