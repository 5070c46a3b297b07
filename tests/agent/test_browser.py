"""A real Chromium on real pages: what is found, what is clicked once, what is in doubt, and the proofs."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from regente_agent.driver_process import scratch_root
from shared.contracts.messages.worker_reply import Evidence, ReplyOutcome, SessionState, WorkerReply
from tests.agent.bench import Bench
from tests.demo.servers import make_server

PAGE = b"""<!doctype html><title>Bench</title><meta charset=utf-8>
<h1 id=title>Hello</h1>
<label>Your name <input id=name></label><input id=locked readonly value=fixed>
<select id=kind><option value=a>First kind</option><option value=b>Second kind</option></select>
<label><input type=checkbox id=agree> I agree</label>
<button id=late-button onclick="setTimeout(() => document.body.insertAdjacentHTML('beforeend', '<p id=late>Here</p>'),
300)"> Later</button>
<button id=submit onclick="fetch('/submit', {method: 'POST'}).then(() => document.title = 'Sent')">Submit it</button>
<button id=covered>Covered</button>
<div style="position:fixed;right:0;bottom:0;width:9em;height:4em;background:red"></div>
<style>#covered { position: fixed; right: 0; bottom: 0 } div { z-index: 9 }</style>
<a id=file href=/file>Get the file</a>
<button id=crash onclick="location='about:blank'">Away</button>"""


class Site(ThreadingHTTPServer):
    """A page, a file, and a submit that is counted."""

    daemon_threads = True
    submits = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.hang = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Pages(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.hang.wait(20)
        file = self.path == "/file"
        body = b"%PDF-1.4 a receipt" if file else PAGE
        self.send_response(200)
        self.send_header("Content-Type", "application/pdf" if file else "text/html")
        if file:
            self.send_header("Content-Disposition", 'attachment; filename="receipt.pdf"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.submits += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[Site]:
    """The site, while it is used."""
    server = Site()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.hang.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


def element(*selectors: str) -> dict[str, Any]:
    return {"$object": "thing", "selectors": list(selectors)}


def code(reply: WorkerReply) -> str:
    assert reply.error is not None
    return reply.error.code


def size_of(evidence: Evidence) -> tuple[int, int]:
    """Width and height of a PNG, out of its header."""
    assert evidence.data is not None
    data = base64.b64decode(evidence.data)
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


class Script:
    """Instructions one after the other, as an executor sends them."""

    def __init__(self, robot: Bench) -> None:
        self.robot, self.seq = robot, 0

    def __call__(self, of: str, /, *selectors: str, **args: Any) -> WorkerReply:
        self.seq += 1
        if selectors:
            args["target"] = element(*selectors)
        return self.robot.ask(self.seq, of, **args)


def test_a_script_on_a_page(robot: Bench, site: Site) -> None:
    do = Script(robot)
    assert code(do("screen.evidence", name="nothing is open")) == "NOT_ALLOWED"
    assert code(do("browser.click", "css=#title")) == "NOT_FOUND"
    assert do("browser.open", url=site.url).outcome is ReplyOutcome.DONE
    assert do("browser.url").value == site.url + "/"
    assert do("browser.text", "css=#nothing", "text=Hello").value == "Hello"
    assert do("browser.fill", "label=Your name", text="a very secret name").outcome is ReplyOutcome.DONE
    assert do("browser.value", "css=#name").value == "a very secret name"
    assert do("browser.select", "css=#kind", option="Second kind").outcome is ReplyOutcome.DONE
    assert do("browser.value", "css=#kind").value == "b"
    assert code(do("browser.select", "css=#kind", option="Third kind")) == "NOT_FOUND"
    assert do("browser.check", "label=I agree").outcome is ReplyOutcome.DONE
    assert do("browser.press", keys="Tab").outcome is ReplyOutcome.DONE
    assert code(do("browser.press", keys="Hyper+Q")) == "BAD_ARGUMENT"
    assert do("browser.exists", "css=#late", timeout=0.1).value is False
    do("browser.click", "role=button[name=Later]")
    assert do("browser.wait", "css=#late", timeout=5).outcome is ReplyOutcome.DONE
    picture = do("screen.evidence", name="the page")
    assert (picture.evidence[0].name, picture.evidence[0].sha256) == ("the page", picture.value)
    assert size_of(picture.evidence[0]) == (1280, 800)
    clicked = do("browser.click", "css=#submit", commit=True)
    assert (clicked.outcome, do("browser.exists", "css=#late").value) == (ReplyOutcome.DONE, True)
    robot.until(lambda: site.submits == 1, "the submit")
    receipt = do("browser.download", "text=Get the file", name="receipt-1.pdf")
    assert base64.b64decode(receipt.evidence[0].data or "") == b"%PDF-1.4 a receipt"
    assert (receipt.value["name"], receipt.value["media_type"]) == ("receipt-1.pdf", "application/pdf")
    assert do("browser.close").outcome is ReplyOutcome.DONE
    assert code(do("browser.url")) == "NOT_FOUND"
    assert site.submits == 1
    assert "a very secret name" not in robot.agent_output()


def test_failures_are_clean_and_come_with_a_picture(robot: Bench, site: Site) -> None:
    do = Script(robot)
    do("browser.open", url=site.url)
    late = do("browser.click", "css=#nowhere", timeout=0.3)
    assert (late.outcome, code(late), late.desktop) == (ReplyOutcome.ERROR, "TIMEOUT", SessionState.KEPT)
    assert [entry.name for entry in late.evidence] == ["failure"]
    assert size_of(late.evidence[0]) == (1280, 800)
    assert [entry["name"] for entry in late.recent] == ["browser.open", "browser.click"]
    assert code(do("browser.click", "css=#covered", timeout=0.5, commit=True)) == "TIMEOUT"
    assert code(do("browser.fill", "css=#locked", text="x", timeout=0.3)) == "TIMEOUT"
    assert code(do("browser.wait", "css=#[")) == "BAD_ARGUMENT"
    assert code(do("browser.wait", "shape=round")) == "BAD_ARGUMENT"
    assert code(do("browser.value", "css=#title")) == "BAD_ARGUMENT"
    assert code(do("browser.open", url="gopher://x")) == "BAD_ARGUMENT"
    assert code(do("browser.open", url="http://127.0.0.1:9/")) == "DRIVER_FAILED"
    slow = do("browser.open", url=site.url + "/slow", timeout=0.5)
    assert (slow.outcome, code(slow)) == (ReplyOutcome.ERROR, "TIMEOUT")
    assert [entry.name for entry in slow.evidence] == ["failure"], "a picture although the page never came"
    told = [line for line in robot.lines if line.event.startswith("browser.click")]
    assert told[0].fields["url"] == site.url + "/"
    assert told[0].fields["title"] == "Bench"


def test_the_browser_goes_with_its_run(robot: Bench, site: Site) -> None:
    do = Script(robot)
    do("browser.open", url=site.url)
    assert browsers(robot.home)
    robot.end_run("run_1", 1)
    robot.until(lambda: not browsers(robot.home), "the browser to end")
    robot.ask(1, "browser.open", url=site.url, run="run_2", epoch=2)
    assert browsers(robot.home)
    robot.kill()
    robot.until(lambda: not browsers(robot.home), "the browser to die with the agent")


def browsers(home: Path) -> list[str]:
    """Processes of a browser whose profile lies in this robot's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"user-data-dir={scratch_root(home)}".encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_client_certificate_on_the_portal(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "portal").mkdir()
    portal = make_server("demo.portal", "https", tmp_path / "portal")
    portal.start()
    try:
        pki = portal.home / "demo" / "pki"
        bench.environment["REGENTE_AGENT_CA_FILE"] = str(pki / "ca.pem")
        bench.start()
        do = Script(bench)
        assert do("browser.open", url=portal.url + "/login").outcome is ReplyOutcome.DONE, "trusted as it is"
        assert do("browser.exists", "css=#enter", timeout=0.5).value is False
        passphrase = (pki / "acme.p12.password").read_text()
        certificate = {
            "pkcs12": base64.b64encode((pki / "acme.p12").read_bytes()).decode(),
            "passphrase": passphrase,
            "origins": [portal.url],
        }
        opened = do("browser.open", url=portal.url + "/login", certificate={"$certificate": certificate})
        assert opened.outcome is ReplyOutcome.DONE, opened.error
        assert do("browser.click", "css=#enter").outcome is ReplyOutcome.DONE
        assert do("browser.wait", "css=#registration").outcome is ReplyOutcome.DONE
        do("browser.open", url=portal.url + "/search")
        assert do("browser.exists", "css=#registration").value is True, "the certificate stays"
        wrong = json.loads(json.dumps(certificate)) | {"passphrase": "not the passphrase"}
        refused = do("browser.open", url=portal.url + "/login", certificate={"$certificate": wrong})
        assert code(refused) in ("BAD_ARGUMENT", "DRIVER_FAILED")
        for secret in (passphrase, str(certificate["pkcs12"]), "not the passphrase"):
            assert secret not in bench.agent_output()
    finally:
        portal.stop()
