"""Files beside tasks: handed in, named by inputs, kept while a task names them, gone after their time."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.files import SIZE_BYTES_MAX, BadFile, Files
from shared.obs.clock import now
from tests.integration.collector.conftest import Account, add_workflow
from tests.integration.collector.running import until

WITH_FILES = {
    "type": "object",
    "properties": {
        "letter": {"type": "string", "format": "file"},
        "more": {"type": "array", "items": {"$ref": "#/$defs/any"}},
    },
    "$defs": {"any": {"anyOf": [{"type": "string", "format": "file"}, {"type": "integer"}]}},
}


class Killed(Exception):
    """Stands for kill -9."""


@pytest.fixture
async def mongo(account: Account) -> AsyncIterator[Mongo]:
    """The collector's database, as the services use it."""
    found = Mongo(account.ground.mongo_url, account.ground.db.name)
    yield found
    await found.close()


def put(account: Account, content: Any, name: str = "letter.pdf", **headers: str) -> httpx.Response:
    """Hand a file in as a body."""
    media_type = headers.pop("media_type", "application/pdf")
    return account.http.post(
        "/v1/files", params={"name": name}, content=content, headers={"content-type": media_type, **headers}
    )


def push(account: Account, reference: str, **values: Any) -> dict[str, Any]:
    """Push one task with files."""
    if account.db["workflows"].find_one({"_id": f"{account.name}/mail"}) is None:
        add_workflow(account.ground, account.name, "mail", WITH_FILES)
    answer: dict[str, Any] = account.push({"reference": reference, "input": values}, workflow="mail").json()
    return answer


def test_a_file_comes_back_as_it_went_in(account: Account) -> None:
    data = os.urandom(700_000)
    made = put(account, data, "certidão.pdf")
    assert made.status_code == 201
    view = made.json()
    assert (view["name"], view["media_type"], view["size_bytes"]) == ("certidão.pdf", "application/pdf", len(data))
    assert view["sha256"] == hashlib.sha256(data).hexdigest()
    got = account.http.get(f"/v1/files/{view['id']}")
    assert got.content == data
    assert got.headers["content-type"] == "application/pdf"
    assert "certid%C3%A3o.pdf" in got.headers["content-disposition"]
    assert (
        account.http.get(f"/v1/files/{view['id']}", headers={"if-none-match": got.headers["etag"]}).status_code == 304
    )
    assert account.http.get(f"/v1/files/{view['id']}", headers=account.ground.key("other", "tasks")).status_code == 404


def test_the_same_bytes_are_the_same_file_in_one_account_and_another_in_the_next(account: Account) -> None:
    first = put(account, b"the same", "a.txt").json()
    again = put(account, b"the same", "b.txt")
    assert (again.status_code, again.json()) == (200, {**first, "duplicate": True})
    assert account.db["files.files"].count_documents({"filename": {"$in": ["a.txt", "b.txt"]}}) == 1
    other = put(account, b"the same", "a.txt", **account.ground.key("another", "tasks")).json()
    assert other["id"] != first["id"]
    assert not other["duplicate"]


def test_a_form_brings_the_name_and_the_type(account: Account) -> None:
    files = {"file": ("carta.txt", io.BytesIO(b"hello"), "text/plain; charset=utf-8")}
    view = account.http.post("/v1/files", files=files, data={"note": "passed over"}).json()
    assert (view["name"], view["media_type"], view["size_bytes"]) == ("carta.txt", "text/plain", 5)


def test_the_limit_is_the_files_own(account: Account) -> None:
    piece = bytes(1024 * 1024)

    def pieces(count: int, rest: int) -> Iterator[bytes]:
        for _ in range(count):
            yield piece
        yield bytes(rest)

    assert put(account, pieces(SIZE_BYTES_MAX // len(piece) - 1, len(piece))).status_code == 201
    for content in (pieces(SIZE_BYTES_MAX // len(piece), 1), bytes(SIZE_BYTES_MAX + 100_000)):
        answer = put(account, content)
        assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    assert account.http.post("/v1/tasks", content=bytes(17_000_000)).status_code == 413  # as before


@pytest.mark.parametrize(
    ("content", "params", "media_type"),
    [
        (b"", {"name": "a"}, "text/plain"),
        (b"x", {}, "text/plain"),
        (b"x", {"name": "a\x00b"}, "text/plain"),
        (b"x", {"name": "a/"}, "text/plain"),
        (b"x", {"name": "a" * 201}, "text/plain"),
        (b"x", {"name": "a"}, "no type"),
        (b"x", {}, "multipart/form-data"),
        (b"--b--\r\n", {}, "multipart/form-data; boundary=b"),
        (b"nothing of the kind", {}, "multipart/form-data; boundary=b"),
    ],
)
def test_what_is_no_file_is_refused(account: Account, content: bytes, params: Any, media_type: str) -> None:
    answer = account.http.post("/v1/files", params=params, content=content, headers={"content-type": media_type})
    assert answer.status_code == 422
    assert account.db["files"].count_documents({"account": account.name}) == 0


def test_an_input_may_name_files_of_its_account_only(account: Account) -> None:
    ours, second = put(account, b"one").json()["id"], put(account, b"two").json()["id"]
    theirs = put(account, b"three", **account.ground.key("another", "tasks")).json()["id"]
    taken = push(account, "a", letter=ours, more=[1, second])
    assert len(taken["accepted"]) == 1
    (task,) = account.db["tasks"].find({"account": account.name})
    assert sorted(task["files"]) == sorted([ours, second])
    for reference, values in (("b", {"letter": theirs}), ("c", {"more": [f"file_{'0' * 32}"]})):
        refused = push(account, reference, **values)["rejected"][0]["errors"][0]
        assert refused["code"] == "INVALID_INPUT"
        assert "POST /v1/files" in refused["message"]
    assert push(account, "d", letter="letter.pdf")["rejected"][0]["errors"][0]["path"] == "/input/letter"


def test_a_file_under_a_key_is_answered_again(account: Account) -> None:
    first = put(account, b"keyed", **{"Idempotency-Key": "k"})
    again = put(account, b"keyed", **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json(), again.headers.get("Idempotency-Replayed")) == (201, first.json(), "true")
    assert put(account, b"other", **{"Idempotency-Key": "k"}).status_code == 422


async def age(mongo: Mongo, *ids: str) -> None:
    """Let files have been untouched for ten days."""
    await mongo["files"].update_many({"_id": {"$in": list(ids)}}, {"$set": {"touched_at": now() - timedelta(days=10)}})


async def test_a_file_stays_while_a_task_names_it_and_goes_after_its_time(account: Account, mongo: Mongo) -> None:
    used, unused, young = (put(account, os.urandom(9)).json()["id"] for _ in range(3))
    taken = push(account, "a", letter=used)["accepted"][0]["id"]
    await age(mongo, used, unused)
    files = Files(mongo)
    week_s = 7 * 24 * 3600.0
    assert await files.sweep(week_s) >= 1
    assert [await files.find(account.name, one) is not None for one in (used, unused, young)] == [True, False, True]
    assert account.http.get(f"/v1/files/{unused}").status_code == 404
    await mongo["tasks"].delete_one({"_id": taken})
    await files.sweep(week_s)  # it was looked at a moment ago: another week
    assert await files.find(account.name, used) is not None
    assert await files.drop_unused(account.name, [used, young]) == 0  # a push may be about to name them
    await age(mongo, used, young)
    assert await files.drop_unused(account.name, [used]) == 1
    assert await files.sweep(3650 * 24 * 3600.0) == 1  # young was let go before
    assert [await files.find(account.name, one) for one in (used, young)] == [None, None]


async def test_what_was_let_go_and_is_named_stays(account: Account, mongo: Mongo) -> None:
    id = put(account, os.urandom(9)).json()["id"]
    push(account, "a", letter=id)
    await age(mongo, id)
    files = Files(mongo)
    assert await files.drop_unused(account.name, [id]) == 0
    assert await files.sweep(3650 * 24 * 3600.0) == 0
    document = await files.find(account.name, id)
    assert document is not None
    assert document["unwanted"]["look_at"] > now()
    long_ago = now() - timedelta(days=3)
    await mongo["files"].update_one({"_id": id}, {"$set": {"unwanted": {"since": long_ago, "look_at": long_ago}}})
    await files.sweep(3650 * 24 * 3600.0)
    document = await files.find(account.name, id)
    assert document is not None
    assert "unwanted" not in document


async def test_a_push_that_names_a_file_at_the_moment_of_its_deletion_keeps_it_or_is_refused(
    account: Account, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep has seen that no task names the file; then a push touches it; then the sweep deletes."""
    id = put(account, b"at stake").json()["id"]
    await age(mongo, id)
    document = await mongo["files"].find_one({"_id": id})
    assert document is not None
    assert push(account, "a", letter=id)["accepted"]
    await mongo["tasks"].delete_many({"account": account.name})  # so that only the touch protects it
    assert not await Files(mongo)._drop(document)
    assert await Files(mongo).find(account.name, id) is not None


async def test_an_account_holds_so_much_and_no_more(account: Account, mongo: Mongo) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield os.urandom(60)

    files = Files(mongo, account_bytes_max=100)
    for _ in range(2):
        await files.put(account.name, "a", None, pieces())
    with pytest.raises(BadFile, match="holds 120 bytes"):
        await files.put(account.name, "a", None, pieces())
    assert not (await files.put(f"{account.name}-other", "a", None, pieces()))["duplicate"]


async def left_of(mongo: Mongo, bytes_id: Any) -> list[int]:
    """How many chunks, entries and marks there are of some bytes."""
    queries = {
        "files.chunks": {"files_id": bytes_id},
        "files.files": {"_id": bytes_id},
        "file_marks": {"_id": bytes_id},
    }
    return [await mongo[name].count_documents(query) for name, query in queries.items()]


async def old_marks(mongo: Mongo) -> None:
    await mongo["file_marks"].update_many({}, {"$set": {"at": now() - timedelta(hours=2)}})


@pytest.mark.parametrize("line", ["write", "close", "insert"])
async def test_bytes_that_never_became_a_file_go(
    account: Account, mongo: Mongo, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """kill -9 in the midst of an upload, before its entry, and between the bytes and the document."""
    kept = put(account, b"kept").json()
    files, seen = Files(mongo), []

    async def pieces() -> AsyncIterator[bytes]:
        yield os.urandom(600_000)
        if line == "write":
            raise Killed

    async def dies(*_: Any, **__: Any) -> None:
        raise Killed

    async def nothing(*_: Any) -> None:
        """A killed process does not clean up."""

    real_mark = files._mark

    async def mark(bytes_id: Any) -> None:
        seen.append(bytes_id)
        await real_mark(bytes_id)

    monkeypatch.setattr(files, "_mark", mark)
    monkeypatch.setattr(files, "_unmark", nothing)
    monkeypatch.setattr("gridfs.asynchronous.grid_file.AsyncGridIn.abort", nothing)
    if line != "write":
        monkeypatch.setattr(files, "_still_mine" if line == "close" else "_keep", dies)
    with pytest.raises(Killed):
        await files.put(account.name, "lost", None, pieces())
    if line == "write":  # the driver sends chunks when it has many
        await mongo["files.chunks"].insert_one({"files_id": seen[0], "n": 0, "data": b"x"})
    assert (await left_of(mongo, seen[0]))[0] > 0
    await Files(mongo).sweep(7 * 24 * 3600.0)
    assert (await left_of(mongo, seen[0]))[0] > 0, "it may go on still"
    await old_marks(mongo)
    assert await Files(mongo).sweep(7 * 24 * 3600.0) >= 1
    assert await left_of(mongo, seen[0]) == [0, 0, 0]
    assert account.http.get(f"/v1/files/{kept['id']}").content == b"kept"


async def test_bytes_of_a_file_whose_deletion_died_go(
    account: Account, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = put(account, os.urandom(9)).json()["id"]
    await age(mongo, id)
    files = Files(mongo)
    document = await files.find(account.name, id)
    assert document is not None

    async def dies(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(files, "_delete_bytes", dies)
    with pytest.raises(Killed):
        await files.drop_unused(account.name, [id])
    assert await left_of(mongo, document["bytes"]) == [1, 1, 1]
    await old_marks(mongo)
    assert await Files(mongo).sweep(7 * 24 * 3600.0) >= 1
    assert await left_of(mongo, document["bytes"]) == [0, 0, 0]


async def test_an_upload_that_took_too_long_gives_up(account: Account, mongo: Mongo) -> None:
    files = Files(mongo)

    async def pieces() -> AsyncIterator[bytes]:
        yield os.urandom(300_000)
        await old_marks(mongo)
        await files.sweep(7 * 24 * 3600.0)

    with pytest.raises(TemporaryError, match="hand the file in again"):
        await files.put(account.name, "slow", None, pieces())
    assert await mongo["files"].count_documents({"account": account.name, "name": "slow"}) == 0
    assert await mongo["files.files"].count_documents({"filename": "slow"}) == 0


def test_a_broken_upload_leaves_nothing(account: Account) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(600_000)
        raise RuntimeError("the partner goes away")

    with pytest.raises(RuntimeError):
        put(account, broken(), "broken.bin")
    until(lambda: account.db["files.files"].count_documents({"filename": "broken.bin"}) == 0, "nothing of it is listed")
    assert account.db["files"].count_documents({"account": account.name}) == 0
