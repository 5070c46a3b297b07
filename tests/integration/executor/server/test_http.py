"""http.request against a web server of the test: answers, limits, addresses, and what every failure means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.executor.core.args import LOGIN
from tests.integration.executor.server.certificates import server_context
from tests.integration.executor.server.conftest import Ground, lookup, order, told
from tests.integration.executor.server.web_peer import WebPeer, web_peer


@pytest.fixture
async def peer() -> AsyncIterator[WebPeer]:
    """A web server."""
    async with web_peer() as made:
        yield made


def ask(method: str, url: str, **more: Any) -> Any:
    return order("http.request", method=method, url=url, **more)


async def test_an_answer_comes_back(place: Ground, peer: WebPeer) -> None:
    answer = await place.server().perform(
        ask(
            "POST",
            peer.url("/ok?a=1"),
            params={"b": "ü", "c": 2},
            json={"x": "é"},
            headers={"X-Mine": "yes"},
            timeout=9,
        )
    )
    assert (told(answer), answer.seq) == (("done", ""), 7)
    assert (answer.value["status"], answer.value["json"]) == (200, {"ok": [1, 2.5, None, "é"]})
    (asked,) = peer.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/ok?a=1&b=%C3%BC&c=2", '{"x":"é"}'.encode())
    assert asked.headers["host"] == f"api.test:{peer.port}"
    assert (asked.headers["x-mine"], asked.headers["content-type"]) == ("yes", "application/json")


async def test_every_status_is_an_answer(place: Ground, peer: WebPeer) -> None:
    answer = await place.server().perform(ask("DELETE", peer.url("/error")))
    assert (answer.value["status"], answer.value["text"], answer.value["json"]) == (500, "oops", None)
    head = await place.server().perform(ask("HEAD", peer.url("/ok")))
    assert (head.value["status"], head.value["text"]) == (200, "")


REFUSED = [
    ("http://127.0.0.1:{port}/ok", "NOT_ALLOWED"),
    ("http://[::1]:{port}/ok", "NOT_ALLOWED"),
    ("http://[::ffff:127.0.0.1]:{port}/ok", "NOT_ALLOWED"),
    ("http://[::ffff:7f00:1]:{port}/ok", "NOT_ALLOWED"),
    ("http://[64:ff9b::7f00:1]:{port}/ok", "NOT_ALLOWED"),
    ("http://[::7f00:1]:{port}/ok", "NOT_ALLOWED"),
    ("http://0.0.0.0:{port}/ok", "NOT_ALLOWED"),
    ("http://[::]:{port}/ok", "NOT_ALLOWED"),
    ("http://169.254.169.254/latest/meta-data", "NOT_ALLOWED"),
    ("http://api.test:{port}/ok", "NOT_ALLOWED"),
    ("http://inside.test/", "NOT_ALLOWED"),
    ("http://localhost:{port}/ok", "NOT_FOUND"),
    ("http://2130706433:{port}/ok", "BAD_ARGUMENT"),
    ("http://0x7f000001:{port}/ok", "BAD_ARGUMENT"),
    ("http://0177.0.0.1:{port}/ok", "BAD_ARGUMENT"),
    ("http://127.1:{port}/ok", "BAD_ARGUMENT"),
    ("http://127.0.0.1.:{port}/ok", "BAD_ARGUMENT"),
    ("http://①②⑦.0.0.1:{port}/ok", "BAD_ARGUMENT"),
    ("http://127。0。0。1:{port}/ok", "BAD_ARGUMENT"),
    ("http://api.test@127.0.0.1:{port}/ok", "BAD_ARGUMENT"),
    ("http://127.0.0.1:{port}#@api.test/ok", "NOT_ALLOWED"),
    ("http://api.test\\@127.0.0.1:{port}/ok", "BAD_ARGUMENT"),
    ("http://127.0.0.1%00.api.test:{port}/ok", "BAD_ARGUMENT"),
    ("file:///etc/passwd", "BAD_ARGUMENT"),
    ("gopher://127.0.0.1:{port}/", "BAD_ARGUMENT"),
    ("//127.0.0.1:{port}/ok", "BAD_ARGUMENT"),
    ("http://", "BAD_ARGUMENT"),
    ("http://api.test:99999/", "BAD_ARGUMENT"),
    ("http://a b/", "BAD_ARGUMENT"),
    ("http://api.test:{port}/ok\r\nX: y", "BAD_ARGUMENT"),
]


@pytest.mark.parametrize(("url", "code"), REFUSED)
async def test_no_way_leads_to_what_is_not_public(place: Ground, peer: WebPeer, url: str, code: str) -> None:
    for method in ("GET", "POST"):
        answer = await place.server(allowed="").perform(ask(method, url.format(port=peer.port)))
        assert answer.outcome.value == "error"
        assert answer.error is not None
        assert answer.error.code == code or (
            code == "BAD_ARGUMENT" and answer.error.code in ("NOT_ALLOWED", "NOT_FOUND")
        )
    assert peer.asked == []


async def test_the_systems_own_names_lead_nowhere_inside(place: Ground, peer: WebPeer) -> None:
    server = place.server(allowed="", names=socket.getaddrinfo)
    answer = await server.perform(ask("GET", peer.url("/ok", "localhost")))
    assert told(answer) == ("error", "NOT_ALLOWED")


async def test_one_forbidden_address_among_others_is_enough(place: Ground) -> None:
    def mixed(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(2, 1, 6, "", ("1.1.1.1", port)), (2, 1, 6, "", ("10.0.0.1", port))]

    assert told(await place.server(names=mixed).perform(ask("GET", "http://x.test/"))) == ("error", "NOT_ALLOWED")


async def test_what_was_checked_is_what_is_connected_to(place: Ground, peer: WebPeer) -> None:
    """A name that answers otherwise the second time (DNS rebinding)."""
    answers = iter(["127.0.0.1", "10.0.0.1"])

    def rebinding(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(2, 1, 6, "", (next(answers), port))]

    server = place.server(names=rebinding)
    assert told(await server.perform(ask("GET", peer.url("/ok", "rebind.test")))) == ("done", "")
    assert told(await server.perform(ask("GET", peer.url("/ok", "rebind.test")))) == ("error", "NOT_ALLOWED")


@pytest.mark.parametrize(
    ("path", "read", "act"),
    [
        ("/drop", ("error", "FAILED"), ("in_doubt", "FAILED")),
        ("/garbage", ("error", "FAILED"), ("in_doubt", "FAILED")),
        ("/half", ("error", "FAILED"), ("in_doubt", "FAILED")),
        ("/brotli", ("error", "FAILED"), ("in_doubt", "FAILED")),
        ("/silent", ("error", "TIMEOUT"), ("in_doubt", "TIMEOUT")),
        ("/large", ("error", "FAILED"), ("done", "")),
        ("/declared", ("error", "FAILED"), ("done", "")),
        ("/bomb", ("error", "FAILED"), ("done", "")),
        ("/loop", ("done", ""), ("done", "")),
        ("/gzip", ("done", ""), ("done", "")),
    ],
)
async def test_what_fails_after_it_was_sent_is_in_doubt_for_an_act(
    place: Ground, peer: WebPeer, path: str, read: tuple[str, str], act: tuple[str, str]
) -> None:
    timeout_s = 1.0 if path == "/silent" else 30.0
    asked = await place.server().perform(ask("GET", peer.url(path), timeout_s=timeout_s))
    acted = await place.server().perform(ask("POST", peer.url(path), timeout_s=timeout_s))
    assert (told(asked), told(acted)) == (read, act)
    assert acted.value_too_large == (path in ("/large", "/declared", "/bomb"))
    if path == "/gzip":
        assert acted.value["json"] == {"packed": True}


async def test_what_fails_before_it_was_sent_was_not_done(place: Ground) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    answer = await place.server().perform(ask("POST", f"http://api.test:{port}/"))
    assert told(answer) == ("error", "FAILED")
    answer = await place.server().perform(ask("POST", "http://nowhere.test/"))
    assert told(answer) == ("error", "NOT_FOUND")
    with socket.socket() as full:  # a queue for connections that is full answers nothing at all
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        answer = await place.server().perform(ask("POST", f"http://api.test:{full.getsockname()[1]}/", timeout_s=1))
        for other in others:
            other.close()
    assert told(answer) == ("error", "TIMEOUT")


async def test_redirects_are_followed_as_far_as_the_script_says(place: Ground, peer: WebPeer) -> None:
    server = place.server()
    here = await server.perform(ask("POST", peer.url("/to"), text="x"))
    assert (here.value["status"], here.value["headers"]["location"]) == (303, "/ok")
    there = await server.perform(ask("POST", peer.url("/to"), text="x", follow=1))
    assert (there.value["status"], there.value["url"]) == (200, peer.url("/ok"))
    assert (peer.asked[-1].method, peer.asked[-1].body) == ("GET", b"")
    kept = await server.perform(ask("PUT", peer.url("/keep"), text="x", follow=1))
    assert (kept.value["status"], peer.asked[-1].method, peer.asked[-1].body) == (200, "PUT", b"x")
    looped = await server.perform(ask("GET", peer.url("/loop"), follow=3))
    assert (looped.value["status"], sum(one.path == "/loop" for one in peer.asked)) == (302, 4)


@pytest.mark.parametrize("path", ["/inside", "/meta", "/file"])
async def test_every_hop_is_checked_and_leaves_an_act_in_doubt(place: Ground, peer: WebPeer, path: str) -> None:
    read = await place.server().perform(ask("GET", peer.url(path), follow=5))
    assert told(read) in (("error", "NOT_ALLOWED"), ("error", "BAD_ARGUMENT"))
    act = await place.server().perform(ask("POST", peer.url(path), follow=5))
    assert told(act)[0] == "in_doubt"


async def test_what_is_secret_stays_with_its_origin(place: Ground, peer: WebPeer) -> None:
    async with web_peer() as other:
        peer.elsewhere = other.url("/ok", "other.test")
        await place.server().perform(
            ask("GET", peer.url("/away"), follow=1, auth="t0ken", headers={"X-Key": "k", "Accept": "a/b"})
        )
        assert (peer.asked[0].headers["authorization"], peer.asked[0].headers["x-key"]) == ("Bearer t0ken", "k")
        assert {"authorization", "x-key"}.isdisjoint(other.asked[0].headers)
        assert (other.asked[0].headers["host"], other.asked[0].headers["accept"]) == (f"other.test:{other.port}", "a/b")


async def test_a_secret_that_is_echoed_is_masked(place: Ground, peer: WebPeer) -> None:
    answer = await place.server().perform(
        ask("GET", peer.url("/echo"), auth="t0ken-of-ours", secrets=("t0ken-of-ours",))
    )
    assert peer.asked[0].headers["authorization"] == "Bearer t0ken-of-ours"
    assert answer.value["json"] == {"got": "Bearer ***"}
    assert "t0ken" not in str(answer)
    login = {LOGIN: {"user": "ann", "password": "hunter2"}}
    answer = await place.server().perform(ask("GET", peer.url("/ok"), auth=login, secrets=("ann", "hunter2")))
    assert peer.asked[-1].headers["authorization"] == "Basic YW5uOmh1bnRlcjI="


async def test_an_answer_can_not_name_our_secrets(place: Ground, peer: WebPeer) -> None:
    answer = await place.server().perform(ask("GET", peer.url("/handle")))
    assert answer.value["json"] is None
    assert "$secret" in answer.value["text"]


@pytest.mark.parametrize(
    "more",
    [
        {"json": {}, "text": "x"}, {"headers": {"Host": "x"}}, {"headers": {"Authorization": "x"}, "auth": "y"},
        {"auth": {"$certificate": {}}}, {"auth": "a\r\nb"}, {"follow": 11}, {"follow": True}, {"text": "x" * 1_048_577},
        {"headers": {"X": 1}}, {"params": {"a": [1]}}, {"text": 3}, {"surprise": 1}, {"text": "\ud800"},
    ],
)  # fmt: skip
async def test_arguments_that_can_not_be_sent(place: Ground, peer: WebPeer, more: dict[str, Any]) -> None:
    assert told(await place.server().perform(ask("POST", peer.url("/ok"), **more))) == ("error", "BAD_ARGUMENT")
    assert told(await place.server().perform(ask("TRACE", peer.url("/ok")))) == ("error", "BAD_ARGUMENT")
    assert peer.asked == []


async def test_tls_is_checked_against_the_name(place: Ground) -> None:
    async with web_peer(server_context("api.test")) as peer:
        answer = await place.server().perform(ask("POST", peer.url("/ok", scheme="https")))
        assert told(answer) == ("done", "")
        answer = await place.server().perform(ask("POST", peer.url("/ok", "other.test", "https")))
        assert told(answer) == ("error", "FAILED")
        assert answer.error is not None
        assert "certificate" in answer.error.message
        answer = await place.server().perform(ask("POST", peer.url("/ok", "127.0.0.1", "https")))
        assert told(answer) == ("error", "FAILED")
        peer.elsewhere = peer.url("/ok")
        answer = await place.server().perform(ask("GET", peer.url("/away", scheme="https"), follow=1))
        assert told(answer) == ("error", "NOT_ALLOWED")
        assert len(peer.asked) == 2


async def test_proxies_of_the_environment_are_not_used(
    place: Ground, peer: WebPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert told(await place.server().perform(ask("GET", peer.url("/ok")))) == ("done", "")


async def test_so_many_at_once_to_one_host(place: Ground, peer: WebPeer) -> None:
    server = place.server(per_host_max=2)
    asking = [asyncio.create_task(server.perform(ask("GET", peer.url("/hold")))) for _ in range(6)]
    elsewhere = await server.perform(ask("GET", peer.url("/ok", "other.test")))
    await peer.arrived.wait()
    assert told(elsewhere) == ("done", "")
    late = await server.perform(ask("POST", peer.url("/ok"), timeout_s=0.5))
    assert told(late) == ("error", "TIMEOUT")  # it waited for its place: nothing was sent
    peer.let_go.set()
    assert {told(answer) for answer in await asyncio.gather(*asking)} == {("done", "")}
    assert peer.most_at_once <= 3
    assert [one.method for one in peer.asked].count("POST") == 0


async def test_cancelling_closes_the_connection(place: Ground, peer: WebPeer) -> None:
    asking = asyncio.create_task(place.server().perform(ask("POST", peer.url("/hold"))))
    await peer.arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_slow_name_ends_in_time(place: Ground) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(host: str, port: int, **more: Any) -> list[tuple[Any, ...]]:
        asyncio.run_coroutine_threadsafe(gone.wait(), loop).result()
        return lookup(host, port, **more)

    answer = await place.server(names=slow).perform(ask("POST", "http://api.test/", timeout_s=0.5))
    gone.set()
    assert told(answer) == ("error", "TIMEOUT")
