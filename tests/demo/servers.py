"""The demo's portal and partner as processes of their own.

Owns: starting and stopping them by process id. Called by: conftest.py, tests that need the demo. Survives a
crash: nothing; whoever starts one stops it. Change also: nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0


@dataclass
class Server:
    """One of the demo's servers, started with a data folder of its own."""

    module: str
    home: Path
    port: int
    scheme: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        name = self.module.rpartition(".")[2].upper()
        env = {**os.environ, "REGENTE_HOME": str(self.home), f"REGENTE_{name}_PORT": str(self.port)}
        with (self.home / f"{name.lower()}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module], cwd=ROOT, env=env, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{self.module} did not start: {(self.home / f'{name.lower()}.log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def context(self, client: str | None) -> ssl.SSLContext:
        """What an HTTPS client trusts, and the client certificate that it presents, if any."""
        pki = self.home / "demo" / "pki"
        context = ssl.create_default_context(cafile=pki / "ca.pem")
        if client is not None:
            context.load_cert_chain(pki / f"{client}.pem")
        return context

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


def make_server(module: str, scheme: str, home: Path) -> Server:
    """A server that is not started yet, on a port that was free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Server(module, home, port, scheme)
