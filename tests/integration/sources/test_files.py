"""Files of a real folder and of a real SFTP server: taken once, moved aside, refused with a report."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openpyxl
import pytest

from services.collector.core.looks import Tally
from services.collector.sources import files
from services.collector.sources.folder import LocalFolder
from tests.integration.sources.conftest import Account
from tests.integration.sources.sftp_server import Sftp, sftp_server

GOOD = b"reference;registration;priority\r\nA;1;5\r\nB;2;\r\n"
LEFT = ".taking.0123456789ab.a.csv"
"""The file `a.csv` of which a collector died."""
MIXED = b"reference,registration\nC,3\nD,no digits\nE,5,6\n"


def folder(**changes: Any) -> dict[str, Any]:
    """Settings of a folder."""
    return {"kind": "folder", "schedule": {"every_s": 3600}, "folder": "in", "settle_s": 0.2, **changes}


@pytest.fixture
def inbox(account: Account) -> Path:
    """The account's folder `in`."""
    made = account.folder / "in"
    made.mkdir()
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sftp]:
    """An SFTP server with a folder `in`."""
    (tmp_path / "in").mkdir()
    with sftp_server(tmp_path) as made:
        yield made


def names(path: Path) -> list[str]:
    """Files beneath, sorted."""
    return sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())


def test_files_become_tasks_and_are_moved_aside(account: Account, inbox: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["reference", "registration"], ["X", 7], ["Y", 8]):
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    (inbox / "one.csv").write_bytes(GOOD)
    (inbox / "two.csv").write_bytes(MIXED)
    (inbox / "three.xlsx").write_bytes(out.getvalue())
    (inbox / "four.json").write_text('[{"reference": "J", "input": {"registration": "1"}, "priority": 9}]')
    (inbox / "five.ndjson").write_text('{"registration": "11"}\n')
    (inbox / "bad.xlsx").write_bytes(b"PK nothing")
    (inbox / "half.csv.part").write_bytes(GOOD)
    (inbox / "notes.pdf").write_bytes(b"%PDF")
    (inbox / "link.csv").symlink_to("/etc/passwd")
    id = account.add("files", folder())
    look = account.looked(id)
    assert look["outcome"] == "ok", look["reason"]
    tasks = {task["reference"]: task for task in account.tasks()}
    assert tasks.keys() > {"A", "B", "C", "X", "Y"}
    assert [len(one) for one in tasks if one.endswith(":1")] == [18]  # of the file that has no references
    assert {task["priority"] for task in tasks.values()} == {5, None}
    assert tasks["X"]["input"] == {"registration": "7"}  # the schema wants a text
    assert names(inbox) == [
        "half.csv.part", "link.csv", "notes.pdf", "refused/bad.xlsx", "refused/bad.xlsx.report.txt",
        "refused/four.json", "refused/four.json.report.txt", "taken/five.ndjson", "taken/one.csv", "taken/three.xlsx",
        "taken/two.csv", "taken/two.csv.report.txt",
    ]  # fmt: skip
    told = (inbox / "taken" / "two.csv.report.txt").read_text()
    assert told.startswith("two.csv: 1 taken, 0 there before, 2 refused")
    assert "row 3, reference D: /input/registration: 'no digits' does not match" in told
    assert "row 4: the row: it holds a value in a column without a name" in told
    assert "no XLSX workbook" in (inbox / "refused" / "bad.xlsx.report.txt").read_text()
    assert (look["taken"], look["refused"]) == (6, 3)
    assert {one["name"]: one["to"] for one in look["files"]}["bad.xlsx"] == "refused"


def test_the_same_file_again_makes_duplicates_only(account: Account, inbox: Path) -> None:
    id = account.add("files", folder(columns={"input": {"registration": "Matrícula"}}))
    account.looked(id)
    for n in (2, 3):
        (inbox / "a.csv").write_text("Matrícula\n1\n2\n")
        account.again(id)
        look = account.looked(id, n)
    assert (look["taken"], look["duplicates"]) == (0, 2)
    assert len(names(inbox)) == 2  # the second one under another name
    assert len(account.references()) == 2


def test_a_file_that_still_grows_is_left_for_later(account: Account, inbox: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with (inbox / "slow.csv").open("wb", buffering=0) as file:
            file.write(b"reference,registration\n")
            n = 0
            while not stop.is_set():
                n += 1
                file.write(b"S%d,%d\n" % (n, n))
                time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        id = account.add("files", folder())
        look = account.looked(id)
    finally:
        stop.set()
        writer.join()
    assert look["words"] == ["1 files are still being written"]
    assert account.references() == []
    account.again(id)
    assert account.looked(id, 2)["taken"] > 0
    assert names(inbox) == ["taken/slow.csv"]


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        (b"reference,registration\n" + b"A,1\n" * 20, {"rows_max": 10}, "more than 10 rows"),
        (GOOD, {"size_bytes_max": 10}, "at most 10 are taken"),
        (b"registration,registration\n1,2\n", {}, "two columns are called 'registration'"),
    ],
)
def test_a_file_over_a_limit_is_refused_as_a_whole(
    account: Account, inbox: Path, content: bytes, changes: dict[str, Any], said: str
) -> None:
    (inbox / "a.csv").write_bytes(content)
    id = account.add("files", folder(**changes))
    assert said in account.looked(id)["files"][0]["why"]
    assert names(inbox) == ["refused/a.csv", "refused/a.csv.report.txt"]
    assert account.references() == []


def test_nothing_outside_the_accounts_folder_is_read(account: Account, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    (account.folder / "out").symlink_to(tmp_path)
    led = account.add("led", folder(folder="out"))
    absent = account.add("absent", folder(folder="absent"))
    dots = account.add("dots", folder(folder="../other"))
    assert "leads out of the account's own" in account.looked(led)["reason"]
    assert "there is no folder 'absent'" in account.looked(absent)["reason"]
    assert names(tmp_path) == ["a.csv"]
    failed = account.db["sources"].find_one({"_id": dots})  # settings that the console would not have stored
    while failed["failures"] == 0:
        failed = account.db["sources"].find_one({"_id": dots})
    assert "without .." in failed["last_failure"]["reason"]


def test_a_link_in_place_of_the_folder_for_taken_files_is_refused(
    account: Account, inbox: Path, tmp_path: Path
) -> None:
    (inbox / "taken").symlink_to(tmp_path)
    (inbox / "a.csv").write_bytes(GOOD)
    id = account.add("files", folder())
    failed = account.db["sources"].find_one({"_id": id})
    while failed["failures"] == 0:
        failed = account.db["sources"].find_one({"_id": id})
    assert "the folder: " in failed["last_failure"]["reason"]
    assert names(tmp_path) == []
    assert [one.name[-6:] for one in inbox.glob(".taking.*")] == [".a.csv"]


async def test_a_file_that_took_the_place_of_the_one_that_was_listed_waits(tmp_path: Path) -> None:
    """It was moved to `taken` unread, and its tasks were lost."""
    place = LocalFolder(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"old")
    (seen,) = await place.files()
    (tmp_path / "a.csv").write_bytes(b"new one")
    assert await files._claimed(SimpleNamespace(), place, seen) is None  # type: ignore[arg-type]
    (left,) = await place.files()
    assert (left.is_claimed, left.own_name, left.size) == (True, "a.csv", 7)
    assert await files._claimed(SimpleNamespace(), place, left) == left  # type: ignore[arg-type]
    # the next one of its name, while the first lies there still, be it that it grows or that another collector has it
    (tmp_path / "a.csv").write_bytes(b"newer")
    newer = next(one for one in await place.files() if not one.is_claimed)
    assert await files._claimed(SimpleNamespace(), place, newer) is not None  # type: ignore[arg-type]
    assert sorted(one.read_bytes() for one in tmp_path.iterdir()) == [b"new one", b"newer"]


async def test_a_file_that_is_written_on_after_it_was_read_is_not_moved(tmp_path: Path) -> None:
    """Its writer had it open before it was renamed, and paused for longer than `settle_s`."""
    said: list[str] = []

    async def nothing() -> None:
        return None

    place = LocalFolder(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"reference,registration\nA,1\n")
    (seen,) = await place.files()
    with (tmp_path / "a.csv").open("ab") as writer:
        claimed = await files._claimed(SimpleNamespace(), place, seen)  # type: ignore[arg-type]
        assert claimed is not None
        writer.write(b"B,2\n")
    session = SimpleNamespace(notes=SimpleNamespace(files=[], say=said.append), save=nothing, check=lambda: None)
    settings = SimpleNamespace(taken="taken", refused="refused")
    tally = Tally(came=1, taken=1)
    await files._aside(session, settings, place, claimed, "0" * 64, True, tally, [], None)  # type: ignore[arg-type]
    assert names(tmp_path) == [claimed.name]
    assert said == ["a.csv changed while it was taken; it is taken again at the next look"]
    assert session.notes.files == []


def test_what_an_earlier_look_left_is_taken_first_and_hides_nothing(account: Account, inbox: Path) -> None:
    """A collector died between reading and moving, and the partner has put the next file there already."""
    (inbox / LEFT).write_bytes(b"reference,registration\nA,1\n")
    (inbox / "a.csv").write_bytes(b"reference,registration\nB,2\n")
    id = account.add("files", folder())
    look = account.looked(id)
    assert [one["name"] for one in look["files"]] == ["a.csv", "a.csv"]
    assert account.references() == ["A", "B"]
    assert (inbox / "taken" / "a.csv").read_bytes().endswith(b"A,1\n")
    assert len(names(inbox)) == 2


def test_refused_files_of_one_name_and_size_are_all_kept(account: Account, inbox: Path) -> None:
    id = account.add("files", folder(size_bytes_max=10))
    for n in range(1, 4):
        (inbox / "big.csv").write_bytes(b"%d" % n * 20)
        os.utime(inbox / "big.csv", (1_700_000_000, 1_700_000_000))
        if n > 1:
            account.again(id)
        account.looked(id, n)
    kept = [name for name in names(inbox) if not name.endswith(".report.txt")]
    assert sorted((inbox / name).read_bytes()[:1] for name in kept) == [b"1", b"2", b"3"]
    assert sorted(names(inbox)) == sorted([*kept, *(f"{name}.report.txt" for name in kept)])


def sftp(server: Sftp, **changes: Any) -> dict[str, Any]:
    """Settings of an SFTP server's folder."""
    return {
        "kind": "sftp", "schedule": {"every_s": 3600}, "host": "127.0.0.1", "port": server.port, "folder": "in",
        "host_keys": [server.host_key], "login": "login", "settle_s": 0.2, **changes,
    }  # fmt: skip


def test_an_sftp_servers_files_go_the_same_way(account: Account, server: Sftp) -> None:
    account.document("login", {"kind": "login", "user": "robot", "password": "s3cret"})
    inbox = server.folder / "in"
    (inbox / "one.csv").write_bytes(GOOD)
    (inbox / "two.csv").write_bytes(MIXED)
    (inbox / "bad.json").write_bytes(b"{")
    id = account.add("files", sftp(server))
    look = account.looked(id)
    assert (look["outcome"], look["taken"], look["refused"]) == ("ok", 3, 2), look["reason"]
    assert account.references() == ["A", "B", "C"]
    expected = [
        "refused/bad.json", "refused/bad.json.report.txt", "taken/one.csv", "taken/two.csv", "taken/two.csv.report.txt"
    ]  # fmt: skip
    assert names(inbox) == expected
    (inbox / "one.csv").write_bytes(GOOD)
    account.again(id)
    assert account.looked(id, 2)["duplicates"] == 2
    assert len(names(inbox)) == 6
    (inbox / LEFT).write_bytes(b"reference,registration\nD,1\n")
    (inbox / "a.csv").write_bytes(b"reference,registration\nE,2\n")
    account.again(id)
    assert account.looked(id, 3)["taken"] == 2
    assert account.references() == ["A", "B", "C", "D", "E"]
    assert (inbox / "taken" / "a.csv").read_bytes().endswith(b"D,1\n")
    assert len(names(inbox)) == 8


def test_refused_files_of_an_sftp_server_are_all_kept(account: Account, server: Sftp) -> None:
    account.document("login", {"kind": "login", "user": "robot", "password": "s3cret"})
    inbox = server.folder / "in"
    id = account.add("files", sftp(server, size_bytes_max=10))
    for n in range(1, 4):
        (inbox / "big.csv").write_bytes(b"%d" % n * 20)
        os.utime(inbox / "big.csv", (1_700_000_000, 1_700_000_000))
        if n > 1:
            account.again(id)
        account.looked(id, n)
    kept = [name for name in names(inbox) if not name.endswith(".report.txt")]
    assert sorted((inbox / name).read_bytes()[:1] for name in kept) == [b"1", b"2", b"3"]
    assert sorted(names(inbox)) == sorted([*kept, *(f"{name}.report.txt" for name in kept)])


def test_sftp_with_a_key_and_what_is_refused(account: Account, server: Sftp) -> None:
    account.document("key", {"kind": "text", "text": server.client_key})
    account.document("login", {"kind": "login", "user": "keys", "password": "open"})
    account.document("wrong", {"kind": "login", "user": "robot", "password": "wr0ng"})
    (server.folder / "in" / "one.csv").write_bytes(GOOD)
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKU0hBtbmPZDqHjVFJyCNXQa0fOKlkrPnr9KGhHoSuGq"
    stranger = account.add("stranger", sftp(server, key="key", host_keys=[other]))
    assert "its host key is none of those in the settings" in account.looked(stranger)["reason"]
    wrong = account.add("wrong", sftp(server, login="wrong"))
    assert "it does not accept the log-in" in account.looked(wrong)["reason"]
    private = account.add("private", sftp(server, host="10.0.0.1"))
    assert "is a private address" in account.looked(private)["reason"]
    absent = account.add("absent", sftp(server, key="key", folder="nowhere"))
    assert "listing the folder failed" in account.looked(absent)["reason"]
    id = account.add("files", sftp(server, key="key"))
    assert account.looked(id)["taken"] == 2
