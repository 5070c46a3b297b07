"""One of our services as a process of its own, for benches that ask it over HTTP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from deploy.local.settings import free_ports

READY_S = 60.0


@contextlib.contextmanager
def running(service: str, settings: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Its address, once it is ready; ended at the end. settings: REGENTE_*, on top of a port and a home."""
    port = free_ports((service,))[service]
    own = {"REGENTE_HTTP_HOST": "127.0.0.1", "REGENTE_HTTP_PORT": str(port), "REGENTE_LOG_LEVEL": "WARNING"}
    log = folder / f"{service}.log"
    with log.open("wb") as out:
        env = {key: value for key, value in os.environ.items() if not key.startswith("REGENTE_")}
        env.update(own, REGENTE_INSTANCE=f"{service}-1", REGENTE_HOME=str(folder), **settings)
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"], env=env, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(25)


def _until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        assert process.poll() is None, f"it ended at its start:\n{log.read_text(errors='replace')[-3000:]}"
        assert time.monotonic() < deadline_s, f"not ready after {READY_S:.0f} s; look at {log}"
        time.sleep(0.05)
