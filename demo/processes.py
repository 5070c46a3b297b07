"""The demo's processes for the local stack's launcher: portal, partner and two robots.

Owns: their environment. Called by: deploy/local. Survives a crash: the launcher starts what dies again. Change also:
demo/README.md; REGENTE_HOME/demo is where all of them keep their data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from demo.config import ROBOTS
from demo.portal.config import PortalSettings
from demo.portal.pki import ensure_pki
from deploy.local.processes import Process

PORTS = {"portal": ("REGENTE_PORTAL_PORT", 8443), "partner": ("REGENTE_PARTNER_PORT", 8090)}
"""Settings and defaults of the ports that must be free, in the form of deploy.local.settings.PORTS."""


def processes(home: Path, env: Mapping[str, str]) -> list[Process]:
    """What is to be kept running beside the services.

    `home` is the installation's data folder, `env` the stack's environment, whose REGENTE_SCHEDULER_URL (where robots
    enrol) and REGENTE_AGENT_BROWSER (a Chromium) are passed on to the robots. Makes the portal's certificates first,
    because the robots' browsers are told to trust its authority.
    """
    known = {**os.environ, **env}
    folder = PortalSettings(home=home).pki_folder
    ensure_pki(folder, datetime.now(UTC))
    servers = [_server("portal", "https", home, known), _server("partner", "http", home, known)]
    authorities = _authorities(folder / "ca.pem", known.get("REGENTE_CA_FILE"))
    return servers + [_robot(address, name, home, authorities, known) for address, name in ROBOTS.items()]


def _authorities(portal: Path, services: str | None) -> Path:
    """Whom robots believe: the portal's authority, and the services' where they speak TLS."""
    if not services:
        return portal
    both = portal.with_name("robots-ca.pem")
    both.write_bytes(portal.read_bytes() + Path(services).read_bytes())
    return both


def _server(name: str, scheme: str, home: Path, env: Mapping[str, str]) -> Process:
    setting, default = PORTS[name]
    port = int(env.get(setting) or default)
    ready = "/healthz" if scheme == "http" else f"{scheme}://127.0.0.1:{port}/healthz"
    return Process(
        name=name,
        service=name,
        argv=[sys.executable, "-m", f"demo.{name}"],
        env={"REGENTE_HOME": str(home), setting: str(port)},
        port=port,
        ready=ready,
    )


def _robot(address: str, name: str, home: Path, authority: Path, env: Mapping[str, str]) -> Process:
    scheduler = f"http://127.0.0.1:{env.get('REGENTE_SCHEDULER_PORT') or 8002}"
    settings = {
        "REGENTE_AGENT_HOME": str(home / "demo" / name),
        "REGENTE_AGENT_ADDRESS": address,
        "REGENTE_AGENT_NAME": name,
        "REGENTE_AGENT_CA_FILE": str(authority),
        "REGENTE_SERVER_URL": env.get("REGENTE_SCHEDULER_URL") or scheduler,
    }
    if env.get("REGENTE_AGENT_BROWSER"):
        settings["REGENTE_AGENT_BROWSER"] = env["REGENTE_AGENT_BROWSER"]
    return Process(name=name, service="agent", argv=[sys.executable, "-m", "regente_agent"], env=settings)
