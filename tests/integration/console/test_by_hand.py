"""Tasks by hand over the API: what is checked, what is asked for, and that twice is once."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import httpx
import openpyxl
import pytest

from shared.intake.items import digest_of
from shared.mongo.tombstones import tombstone
from tests.integration.console.site import ACME, OTHER, Site, answer_commands, now, put_task, workflow_files

SCHEMA = (
    "input: {type: object, required: [registration], additionalProperties: false, properties: "
    "{registration: {type: string, pattern: '^[0-9]+$'}, copies: {type: integer, minimum: 1}}}\n"
)
ROWS = "reference;registration;copies\nr-1;111;2\nr-2;x;1\nr-3;333;0\n;444;\nr-1;111;2\n"


@pytest.fixture(scope="module")
def workflow(console: Site) -> str:
    """A workflow whose input is checked."""
    name = f"hand-{uuid.uuid4().hex[:8]}"
    files = workflow_files(name)
    files["workflow.yaml"] = files["workflow.yaml"].replace("input: {type: object}\n", SCHEMA)
    with console.client("ada") as http:
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
    return name


def add(http: httpx.Client, workflow: str, *inputs: dict[str, Any], key: str | None = None, **more: Any) -> Any:
    body = {"account": ACME, "workflow": workflow, "tasks": [{"input": one, **more} for one in inputs]}
    return http.post("tasks", json=body, headers={"Idempotency-Key": key} if key else {})


def upload(http: httpx.Client, workflow: str, data: bytes | str, name: str = "tasks.csv", **fields: Any) -> Any:
    form = {"account": ACME, "workflow": workflow, **fields}
    return http.post("uploads", data=form, files={"file": (name, data)})


def of_workflow(console: Site, workflow: str) -> list[dict[str, Any]]:
    """Requests for tasks of a workflow."""
    return list(console.db["commands"].find({"kind": "tasks.add", "args.workflow": workflow}))


def test_tasks_get_references_and_are_asked_for_once_per_key(console: Site, workflow: str) -> None:
    key = uuid.uuid4().hex
    progress = {"batch": "b", "accepted": 2, "duplicates": 0, "rejected": 0, "tasks": [], "refused": []}
    with console.client("otto") as http, answer_commands(console, progress=progress) as commands:
        first = add(http, workflow, {"registration": "1"}, {"registration": "2"}, key=key, priority=3)
        again = add(http, workflow, {"registration": "1"}, {"registration": "2"}, key=key, priority=3)
        other = add(http, workflow, {"registration": "9"}, key=key)
    assert (first.status_code, again.json()) == (200, first.json())
    assert (first.json()["accepted"], first.json()["state"]) == (2, "done")
    assert (other.status_code, other.json()["code"]) == (422, "CONFLICT")
    (command,) = commands
    assert (command["to"], command["target"], command["by"]) == ("collector", f"{ACME}/{workflow}", "otto")
    number = command["_id"].removeprefix("cmd_")
    assert first.json()["batch"] == f"batch_{number}"
    assert command["args"]["tasks"] == [
        {"reference": f"hand-{number[-12:]}-{n}", "input": {"registration": str(n)}, "priority": 3} for n in (1, 2)
    ]
    audited = console.db["audit"].find_one({"action": "tasks.add", "details.command": command["_id"]})
    assert audited is not None
    assert "tasks" not in audited["details"]


def test_one_bad_task_refuses_all_and_names_the_field(console: Site, workflow: str) -> None:
    taken = put_task(console, workflow=workflow, reference="taken", input={"registration": "5"}, input_digest="other")
    assert taken
    before = len(of_workflow(console, workflow))
    with console.client("otto") as http:
        bad = add(http, workflow, {"registration": "1"}, {"registration": "x", "copies": 0})
        conflict = add(http, workflow, {"registration": "6"}, reference="taken")
        late = add(http, workflow, {"registration": "7"}, deadline="2020-01-01T00:00:00Z")
        many = add(http, workflow, *[{"registration": "1"}] * 201)
    assert bad.status_code == 422
    assert {(one["index"], one["path"]) for one in bad.json()["errors"]} == {
        (1, "/input/registration"),
        (1, "/input/copies"),
    }
    assert (conflict.status_code, conflict.json()["errors"][0]["code"]) == (422, "REFERENCE_CONFLICT")
    assert late.json()["errors"][0]["path"] == "/deadline"
    assert many.status_code == 422
    assert len(of_workflow(console, workflow)) == before


def test_who_may_hand_tasks_in(console: Site, workflow: str) -> None:
    with console.client("vera") as viewer, console.client("olga") as foreign:
        assert add(viewer, workflow, {"registration": "1"}).status_code == 403
        assert upload(viewer, workflow, ROWS).status_code == 403
        assert add(foreign, workflow, {"registration": "1"}).status_code == 404
        assert upload(foreign, workflow, ROWS).status_code == 404
    with console.client("otto") as http:
        assert add(http, "unheard-of", {"registration": "1"}).status_code == 404


def test_a_file_is_previewed_row_by_row_and_confirmed_once(console: Site, workflow: str) -> None:
    standing = put_task(console, workflow=workflow, reference="r-1", input_digest="another")
    with console.client("otto") as http:
        answer = upload(http, workflow, ROWS)
        assert answer.status_code == 201, answer.text
        seen = answer.json()
        assert seen["counts"] == {"rows": 5, "new": 1, "duplicate": 0, "refused": 4}
        assert [(row["row"], row["verdict"]) for row in seen["rows"]] == [
            (2, "refused"), (3, "refused"), (4, "refused"), (5, "new"), (6, "refused"),
        ]  # fmt: skip
        assert [row["errors"][0]["path"] for row in seen["rows"] if row["errors"]] == [
            "/reference", "/input/registration", "/input/copies", "/reference",
        ]  # fmt: skip
        assert seen["rows"][3]["reference"].endswith(":5")
        console.db["tasks"].delete_one({"_id": standing})
        again = upload(http, workflow, ROWS).json()
        assert again["counts"] == {"rows": 5, "new": 2, "duplicate": 1, "refused": 2}
        assert again["rows"][3]["reference"] == seen["rows"][3]["reference"]
        anew = upload(http, workflow, ROWS, again="true").json()
        assert anew["rows"][3]["reference"] != seen["rows"][3]["reference"]
        refused = http.get(f"uploads/{again['id']}/rows", params={"verdict": "refused", "limit": 1}).json()
        assert [row["row"] for row in refused["items"]] == [3]
        rest = http.get(f"uploads/{again['id']}/rows", params={"verdict": "refused", "cursor": refused["next"]}).json()
        assert ([row["row"] for row in rest["items"]], rest["next"]) == ([4], None)
        progress = {"batch": "b", "accepted": 3, "duplicates": 1, "rejected": 0, "tasks": [], "refused": []}
        with answer_commands(console, progress=progress) as commands:
            first = http.post(f"uploads/{again['id']}/confirm")
            twice = http.post(f"uploads/{again['id']}/confirm")
        assert (first.status_code, twice.json()) == (200, first.json())
        (command,) = commands
        assert command["args"] == {"account": ACME, "workflow": workflow, "upload": again["id"]}
        standing_now = http.get(f"uploads/{again['id']}").json()
        assert (standing_now["state"], standing_now["handed"]["duplicates"]) == ("confirmed", 1)
        assert http.delete(f"uploads/{again['id']}").status_code == 409
        assert http.delete(f"uploads/{anew['id']}").status_code == 204
        assert http.get(f"uploads/{anew['id']}").status_code == 404
    with console.client("olga") as foreign:
        assert foreign.get(f"uploads/{again['id']}").status_code == 404
        assert foreign.post(f"uploads/{again['id']}/confirm").status_code == 404
    rows = console.db["upload_rows"].find_one({"upload": again["id"]})
    assert rows is not None
    assert [one["input"] for one in json.loads(rows["items"])] == [
        {"registration": "111", "copies": 2},
        {"registration": "444"},
        {"registration": "111", "copies": 2},
    ]


def test_a_deleted_tasks_reference_stays_taken_and_files_must_be_there(console: Site, workflow: str) -> None:
    grave = {"account": ACME, "workflow": workflow, "reference": "buried", "_id": "task_b", "state": "succeeded"}
    digest = digest_of({"registration": "5"})
    console.db["tombstones"].insert_one(tombstone({**grave, "input_digest": digest}, at=now()))
    file = f"file_{uuid.uuid4().hex}"
    console.db["files"].insert_one({"_id": file, "account": ACME})
    files = workflow_files(f"{workflow}-f")
    files["workflow.yaml"] = files["workflow.yaml"].replace(
        "input: {type: object}", "input: {type: object, properties: {scan: {type: string, format: file}}}"
    )
    with console.client("ada") as http:
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
        seen = upload(http, workflow, "reference,registration\nburied,5\nburied,6\n").json()
        rows = [(row["verdict"], row["task"], [one["code"] for one in row["errors"]]) for row in seen["rows"]]
        assert rows == [("duplicate", None, []), ("refused", None, ["REFERENCE_CONFLICT"])]
        with_files = upload(http, f"{workflow}-f", f"scan\n{file}\nfile_{'0' * 32}\n").json()
        assert [row["verdict"] for row in with_files["rows"]] == ["new", "refused"]
        for one in (seen, with_files):
            http.delete(f"uploads/{one['id']}").raise_for_status()


def test_columns_are_mapped_and_sheets_are_read(console: Site, workflow: str) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for line in (["Nota", "CNPJ", "Vias", "Outra"], ["n-1", 123, 2, "x"], ["n-2", 456, "3", None]):
        sheet.append(line)
    data = io.BytesIO()
    book.save(data)
    mapping = {"reference": "Nota", "input": {"registration": "CNPJ", "copies": "Vias"}}
    with console.client("otto") as http:
        mapped = upload(http, workflow, data.getvalue(), "tasks.xlsx", mapping=json.dumps(mapping)).json()
        assert (mapped["columns"], mapped["counts"]["new"]) == (["Nota", "CNPJ", "Vias", "Outra"], 2)
        missing = upload(http, workflow, ROWS, mapping=json.dumps({"input": {"registration": "CPF"}}))
        assert (missing.status_code, "no column 'CPF'" in missing.json()["detail"]) == (422, True)
        wrong = upload(http, workflow, ROWS, mapping='{"input": 3}')
        assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "/mapping/input")
        unknown = upload(http, workflow, ROWS, "tasks.pdf")
        assert (unknown.status_code, "ends in one of" in unknown.json()["detail"]) == (422, True)


def test_what_is_too_large_or_too_much_is_refused(console: Site, workflow: str) -> None:
    with console.client("otto") as http:
        rows = upload(http, workflow, "registration\n" + "1\n" * 10_001)
        assert (rows.status_code, "more than 10000 rows" in rows.json()["detail"]) == (422, True)
        assert upload(http, workflow, b"x" * (16 * 1024 * 1024 + 1)).status_code == 413
        bad = upload(http, workflow, "registration\nx\n").json()
        nothing = http.post(f"uploads/{bad['id']}/confirm")
        assert (nothing.status_code, "every row is refused" in nothing.json()["detail"]) == (409, True)


def test_an_account_has_so_many_open_uploads(console: Site) -> None:
    files = workflow_files("hand-many")
    with console.client("olga") as http:
        http.post("workflows", json={"account": OTHER, "files": files}).raise_for_status()
        form = {"account": OTHER, "workflow": "hand-many"}
        answers = [http.post("uploads", data=form, files={"file": ("a.json", b'[{"a": 1}]')}) for _ in range(21)]
        assert [one.status_code for one in answers[:20]] == [201] * 20
        assert answers[20].status_code == 429
        listed = http.get("uploads", params={"account": OTHER, "limit": 50}).json()["items"]
        assert len(listed) == 20
        for one in listed:
            http.delete(f"uploads/{one['id']}").raise_for_status()


def test_an_upload_that_expired_is_not_confirmed(console: Site, workflow: str) -> None:
    with console.client("otto") as http:
        made = upload(http, workflow, "registration\n77\n").json()
        console.db["uploads"].update_one({"_id": made["id"]}, [{"$set": {"expires_at": "$created_at"}}])
        assert http.post(f"uploads/{made['id']}/confirm").status_code == 404
    assert console.db["commands"].find_one({"args.upload": made["id"]}) is None
