"""`regente task add` and `regente task upload`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.console.site import ACME, Site, answer_commands, workflow_files

SCHEMA = (
    "input: {type: object, required: [registration], additionalProperties: false, properties: "
    "{registration: {type: string, pattern: '^[0-9]+$'}, copies: {type: integer}, tags: {type: array}}}\n"
)
TAKEN = {"batch": "b", "accepted": 1, "duplicates": 0, "rejected": 0, "refused": []}
ONE = {"index": 0, "reference": "r", "id": "task_1", "duplicate": False}


@pytest.fixture(scope="module")
def workflow(console: Site) -> str:
    """A workflow whose input is checked."""
    files = workflow_files("cli-hand")
    files["workflow.yaml"] = files["workflow.yaml"].replace("input: {type: object}\n", SCHEMA)
    with console.client("ada") as http:
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
    return "cli-hand"


def test_a_task_is_added_with_the_types_of_its_schema(regente: Any, console: Site, workflow: str) -> None:
    fields = ("registration=123", "copies=2", 'tags:=["a", "b"]')
    with answer_commands(console, progress={**TAKEN, "tasks": [ONE]}) as commands:
        said = regente("task", "add", "-w", workflow, *fields, "--reference", "r", "--priority", "4", "--key", "k-1")
        regente("task", "add", "-w", workflow, *fields, "--reference", "r", "--priority", "4", "--key", "k-1")
    (command,) = commands
    assert command["args"]["tasks"] == [
        {"reference": "r", "input": {"registration": "123", "copies": 2, "tags": ["a", "b"]}, "priority": 4}
    ]
    assert said.stdout.splitlines()[0].startswith("1 accepted (batch batch_")
    assert said.stdout.splitlines()[1] == "task_1"
    bad = regente("task", "add", "-w", workflow, "registration=x", code=1)
    assert "/input/registration: 'x' does not match" in bad.stderr
    assert "FIELD=VALUE" in regente("task", "add", "-w", workflow, "registration", code=2).stderr


def test_a_file_is_previewed_and_handed_in(regente: Any, console: Site, workflow: str, tmp_path: Path) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text("Nota;CNPJ\nn-1;1\nn-2;x\n")
    command = ("task", "upload", str(file), "-w", workflow, "--map", "reference=Nota", "--map", "registration=CNPJ")
    seen = regente(*command, "--preview")
    assert seen.stdout == "2 rows: 1 new, 0 there already, 1 refused\n"
    assert "1 rows, the first is 3: registration: 'x' does not match" in seen.stderr
    assert "nothing was handed in" in regente(*command, text="n\n").stdout
    assert console.db["uploads"].count_documents({"workflow": workflow}) == 0
    with answer_commands(console, progress={**TAKEN, "tasks": [ONE]}) as commands:
        done = regente(*command, "--yes", "--json", code=1)
    assert json.loads(done.stdout)["accepted"] == 1
    assert "1 of 2 rows were refused" in done.stderr
    assert [one["args"]["workflow"] for one in commands] == [workflow]
    assert "say --preview or --yes" in regente(*command, "--json", code=2).stderr
    assert "can't be read" in regente("task", "upload", str(tmp_path / "no.csv"), "-w", workflow, code=2).stderr
