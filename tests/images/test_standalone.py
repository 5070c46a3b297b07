"""All services in one go: they come up, one that is killed comes back, and a signal ends them all."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from deploy.local.settings import PORTS, SERVICES, free_ports
from docs.generate import ROOT
from tests.integration.collector.running import until

READY_S = 120.0
STOP_S = 25.0


def test_up_killed_back_and_down(servers: Any, mongo_db: str, amqp_url: str, tmp_path: Path) -> None:
    ports = free_ports((*SERVICES, "standalone"), start=27000)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("REGENTE_")},
        **{PORTS[name][0]: str(ports[name]) for name in SERVICES},
        "REGENTE_STANDALONE_PORT": str(ports["standalone"]), "REGENTE_HTTP_HOST": "127.0.0.1",
        "REGENTE_AMQP_URL": amqp_url, "REGENTE_AMQP_ADMIN_URL": servers.amqp_admin, "REGENTE_MONGO_URL": servers.mongo,
        "REGENTE_MONGO_DB": mongo_db, "REGENTE_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
        "REGENTE_HOME": str(tmp_path), "REGENTE_PAGES": "false",
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.standalone"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    url = f"http://127.0.0.1:{ports['standalone']}/healthz"

    def health() -> tuple[int, dict[str, Any]]:
        assert child.poll() is None, log.read_text()[-3000:]
        try:
            answer = httpx.get(url, timeout=5)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()

    try:
        until(lambda: health()[0] == 200, "all are ready", READY_S)
        rows = {row["instance"]: row for row in health()[1]["services"]}
        assert sorted(rows) == sorted(SERVICES)
        os.kill(rows["collector"]["pid"], signal.SIGKILL)
        said = until(lambda: health() if health()[0] == 503 else None, "it is missed", READY_S)
        assert said[1]["missing"] == ["collector"]
        until(lambda: health()[0] == 200, "it is back", READY_S)
        pids = [row["pid"] for row in health()[1]["services"]]
        probe = [sys.executable, "-m", "shared.runtime.probe"]
        assert subprocess.run(probe, cwd=ROOT, env=environment, capture_output=True, check=False).returncode == 0
        child.send_signal(signal.SIGTERM)
        assert child.wait(STOP_S) == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert subprocess.run(probe, cwd=ROOT, env=environment, capture_output=True, check=False).returncode == 1
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    assert "Traceback" not in log.read_text()


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    environment = {**os.environ, "REGENTE_CONSOLE_PORT": "ninety", "REGENTE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.standalone"], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "REGENTE_CONSOLE_PORT='ninety' is no port" in done.stdout
