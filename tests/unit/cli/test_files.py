"""Tasks as people write them down, a workflow's folder, and where the installation is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.workflow import read_folder
from cli.errors import Usage
from cli.home import find_home, read_access
from cli.tasks_file import read_tasks

cells = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)


@given(st.lists(st.tuples(cells.filter(str.strip), cells), min_size=1, max_size=5))
def test_csv_and_json_lines_say_the_same(rows: list[tuple[str, str]]) -> None:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["reference", "name"])
    writer.writerows(rows)
    tasks = [{"reference": one.strip(), "input": {"name": name} if name else {}} for one, name in rows]
    assert read_tasks(out.getvalue(), "t.csv") == (None, tasks)
    lines = "\n".join(json.dumps(task) for task in tasks)
    assert read_tasks(lines, "t.ndjson") == (None, tasks)
    assert read_tasks(lines, "-") == (None, tasks)


def test_columns_of_the_task_and_of_its_input() -> None:
    text = "\ufeffreference;priority;deadline;kind\nr1;4;2026-12-01T00:00:00Z;tax\nr2;;;\n"
    _, (first, second) = read_tasks(text, "t.csv")
    assert first == {"reference": "r1", "priority": 4, "deadline": "2026-12-01T00:00:00Z", "input": {"kind": "tax"}}
    assert second == {"reference": "r2", "input": {}}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("a,b\n1,2\n", "t.csv", "'reference'"),
        ("reference,a\nr1\n", "t.csv", "line 2"),
        ("reference,priority\nr1,high\n", "t.csv", "line 2"),
        ("{broken", "t.json", "no JSON"),
        ('{"tasks": 1}', "t.json", "list of tasks"),
        ('{"a": 1}\n[1]\n', "t.ndjson", "line 2"),
        ("[1]", "t.json", "list of tasks"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, name: str, message: str) -> None:
    with pytest.raises(Usage, match=message):
        read_tasks(text, name)


def test_json_may_name_the_workflow() -> None:
    assert read_tasks('{"workflow": "tax", "tasks": [{"reference": "r"}]}', "-") == ("tax", [{"reference": "r"}])


def test_folder_is_read_without_caches_and_hidden_files(tmp_path: Path) -> None:
    for name in ("workflow.yaml", "tax.py", ".hidden.py", "__pycache__/x.py", "image.png", "lib/more.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert sorted(read_folder(tmp_path)) == ["lib/more.py", "tax.py", "workflow.yaml"]
    (tmp_path / "latin.txt").write_bytes(b"\xff")
    with pytest.raises(Usage, match="UTF-8"):
        read_folder(tmp_path)
    (tmp_path / "latin.txt").write_text("x" * 300_000)
    with pytest.raises(Usage, match="more than"):
        read_folder(tmp_path)


def test_home_is_found_above_and_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "URL", "TOKEN", "KEY", "ACCOUNT", "COLLECTOR_URL", "DELIVERY_URL"):
        monkeypatch.delenv(f"REGENTE_{name}", raising=False)
    (tmp_path / ".regente").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert find_home() == tmp_path / ".regente"
    (tmp_path / ".regente" / "admin.json").write_text('{"url": "http://file", "key": "file-key", "unknown": 1}')
    monkeypatch.setenv("REGENTE_URL", "http://environment")
    access = read_access()
    assert (access.url, access.key, access.token) == ("http://environment", "file-key", None)
    (tmp_path / ".regente" / "admin.json").write_text("{broken")
    with pytest.raises(Usage, match="can't be read"):
        read_access()
