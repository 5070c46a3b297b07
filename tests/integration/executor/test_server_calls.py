"""Instructions of the server between two of the robot, in a real run: journalled like the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.integration.executor.conftest import World, until

SCRIPT = """
from robot import browser
from regente import http, objects

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.click(objects.go)
    found = http.request("GET", "%(url)s/look")
    browser.click(objects.go)
    done = http.request("POST", "%(url)s/do", text="x")
    return {"look": found["text"], "do": done["text"]}
"""


class Site:
    """A web server of the test: it counts what it is asked for, and answers when it may."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(" ".join(head.split(" ")[:2]))
        await self.may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[tuple[Site, str]]:
    """The site and its address."""
    one = Site()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield one, f"http://127.0.0.1:{port}"
    one.may_answer.set()
    server.close()


async def test_a_request_is_an_entry_and_its_answer_travels_with_the_next(world: World, site: tuple[Site, str]) -> None:
    there, url = site
    await world.executor(http_private_allowed="127.0.0.0/8")
    robot = await world.robot()
    await world.publish(SCRIPT % {"url": url})
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert task["state"] == "succeeded", task["error"]
    assert task["result"]["output"] == {"look": "ok", "do": "ok"}
    assert there.asked == ["GET /look", "POST /do"]
    steps = [step for step in await world.steps(run) if step["kind"] == "instruction"]
    effects = [(step["instruction"]["name"], step["instruction"]["effect"]) for step in steps]
    assert effects == [
        ("browser.click", "act"), ("http.request", "read"), ("browser.click", "act"), ("http.request", "act")
    ]  # fmt: skip


@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("POST", 1)])
async def test_after_the_loss_of_an_executor_a_read_is_done_again_and_an_act_is_in_doubt(
    world: World, site: tuple[Site, str], method: str, asked: int
) -> None:
    """Nobody can be asked whether the act was done, so it is not repeated."""
    there, url = site
    first = await world.executor("executor-1", http_private_allowed="127.0.0.0/8")
    robot = await world.robot()
    await world.publish((SCRIPT % {"url": url}).replace('"GET"', f'"{method}"'))
    there.may_answer.clear()
    run = await world.open(1, worker=robot.worker)
    await until(lambda: _asked(there, f"{method} /look", 1))
    await world.leave(first)
    there.may_answer.set()
    await world.executor("executor-2", http_private_allowed="127.0.0.0/8")
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert there.asked.count(f"{method} /look") == asked
    if method == "GET":
        assert task["state"] == "succeeded", task["error"]
    else:
        assert (task["state"], task["hold"]["reason"]) == ("held", "in_doubt")
        assert "nobody knows whether it was done" in task["error"]["message"]


async def _asked(there: Site, what: str, times: int) -> bool:
    return there.asked.count(what) >= times


async def test_an_abort_cuts_a_request_and_leaves_its_act_in_doubt(world: World, site: tuple[Site, str]) -> None:
    there, url = site
    await world.executor(http_private_allowed="127.0.0.0/8")
    robot = await world.robot()
    script = SCRIPT % {"url": url}
    await world.publish(script.replace('found = http.request("GET"', 'found = http.request("PUT"'))
    there.may_answer.clear()
    run = await world.open(1, worker=robot.worker)
    await until(lambda: _asked(there, "PUT /look", 1))
    await world.ask("run.abort", run, reason="enough")
    ended = await world.ended(run, 3.0)
    assert ended["end"]["reason"] == "aborted"
    (task,) = await world.tasks(run)
    assert (task["state"], task["hold"]["reason"]) == ("held", "in_doubt")


async def test_a_private_address_is_refused_unless_it_is_allowed(world: World, site: tuple[Site, str]) -> None:
    there, url = site
    await world.executor()
    robot = await world.robot()
    await world.publish(SCRIPT % {"url": url})
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert task["state"] == "failed"
    assert "NOT_ALLOWED" in task["error"]["message"]
    assert there.asked == []
