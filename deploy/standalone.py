"""`python -m deploy.standalone`: all services in one go, for a small place: one container, or one systemd unit.

Broker and database are elsewhere: REGENTE_AMQP_URL, REGENTE_MONGO_URL, REGENTE_MASTER_KEY (or their _FILE) as for each
service. Starts the six services on their ports, starts again what dies (after 0.2 s at first, up to 10 s), writes their
output to its own, and answers GET /healthz on REGENTE_STANDALONE_PORT (8010): 200 when all are ready, 503 with who is
not. SIGTERM and SIGINT stop all of them, each in an orderly way. Exit codes: 0 stopped, 1 a service does not start, 2
wrong settings.

Survives a crash: nothing lives here; its children die with it. Change also: deploy/images/Dockerfile, docs/deploy.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.local.console_lines import StackError
from deploy.local.guardian import adopt_orphans, reap_orphans
from deploy.local.processes import MARK, die_with_parent
from deploy.local.settings import PORTS, SERVICES, ports_from
from deploy.local.supervisor import Kept, State, Supervisor, answers
from shared.runtime.http import VERSION

PORT = {"standalone": ("REGENTE_STANDALONE_PORT", 8010)}
STOP_S = 20.0
TEND_S = 0.2
STARTS_S = 120.0


class Standalone:
    """The services of this machine."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(_say, lambda name: f"    (see the lines of {name} above)")
        self.stopping = False
        self._ports = {name: port for name, (_, port) in ports_from({name: PORTS[name] for name in SERVICES}).items()}

    def start(self) -> None:
        """Start all, without waiting."""
        for name in SERVICES:
            port = self._ports[name]
            kept = Kept(
                name=name, service=name, port=port, version=VERSION, mark=f"standalone-{os.getpid()}#{name}#",
                launch=functools.partial(self._launch, name, port),
                answers=functools.partial(answers, port, "/readyz"), stop_s=STOP_S,
            )  # fmt: skip
            self.supervisor.keep(kept)

    def _launch(self, name: str, port: int, mark: str) -> subprocess.Popen[bytes]:
        ours = os.getpid()
        urls = {f"REGENTE_{one.upper()}_URL": f"http://127.0.0.1:{own}" for one, own in self._ports.items()}
        environment = {**urls, **os.environ, "REGENTE_HTTP_PORT": str(port), MARK: mark}
        environment["REGENTE_INSTANCE"] = f"{name}-{os.environ.get('REGENTE_INSTANCE') or '1'}"
        return subprocess.Popen(
            [sys.executable, "-m", f"services.{name}"], env=environment, stdin=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=lambda: die_with_parent(ours),
        )  # fmt: skip

    def live(self) -> int:
        """Until it is to stop; the exit code."""
        self.start()
        told = False
        deadline = time.monotonic() + STARTS_S
        while not self.stopping:
            self.supervisor.tend()
            reap_orphans(self.supervisor.pids())
            late = self.late
            if not late and not told:
                told = True
                _say("all services are ready")
            wrong = [kept.name for kept in self.supervisor.kept if kept.restarts >= 4 and not told]
            if wrong or (late and not told and time.monotonic() > deadline):
                _say(f"{', '.join(wrong or late)} does not get ready; the lines above say why")
                return 1
            time.sleep(TEND_S)
        return 0

    @property
    def late(self) -> list[str]:
        """Services that are not ready, those among them that are not even started yet."""
        ready = {kept.name for kept in self.supervisor.kept if kept.state is State.READY}
        return [name for name in SERVICES if name not in ready]

    def stop(self) -> None:
        """Ask all to end, and see that they did."""
        self.supervisor.stop(list(self.supervisor.kept))


def main() -> int:
    """Run until a signal."""
    try:
        standalone = Standalone()
        port = ports_from(PORT)["standalone"][1]
    except StackError as error:
        _say(str(error))
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: setattr(standalone, "stopping", True))
    adopt_orphans()
    host = os.environ.get("REGENTE_HTTP_HOST") or "127.0.0.1"
    try:
        server = ThreadingHTTPServer((host, port), _handler(standalone))
    except OSError as error:
        _say(f"REGENTE_STANDALONE_PORT: can't listen on {host}:{port} ({error.strerror}); set another")
        return 2
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        return standalone.live()
    finally:
        with contextlib.suppress(ProcessLookupError):
            standalone.stop()
        server.shutdown()
        server.server_close()


def _handler(standalone: Standalone) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            rows = standalone.supervisor.rows()
            late = standalone.late
            found = self.path in ("/healthz", "/readyz")
            body: dict[str, Any] = {"status": "ready" if not late else "not ready", "missing": late, "services": rows}
            data = json.dumps(body if found else {"status": "unknown"}).encode()
            self.send_response(404 if not found else 503 if late else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


def _say(text: str) -> None:
    print(f"standalone: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
