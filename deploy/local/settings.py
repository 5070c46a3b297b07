"""The local stack's settings: where its data lies, and on which ports its parts listen. Read once from the
environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.console_lines import StackError

REPO = Path(__file__).resolve().parents[2]

PORTS = {
    "console": ("REGENTE_CONSOLE_PORT", 8000),
    "collector": ("REGENTE_COLLECTOR_PORT", 8001),
    "scheduler": ("REGENTE_SCHEDULER_PORT", 8002),
    "executor": ("REGENTE_EXECUTOR_PORT", 8003),
    "delivery": ("REGENTE_DELIVERY_PORT", 8004),
    "alerts": ("REGENTE_ALERTS_PORT", 8005),
    "broker": ("REGENTE_BROKER_PORT", 17672),
    "broker_admin": ("REGENTE_BROKER_ADMIN_PORT", 17673),
    "broker_dist": ("REGENTE_BROKER_DIST_PORT", 17674),
    "broker_epmd": ("REGENTE_BROKER_EPMD_PORT", 17675),
    "broker_metrics": ("REGENTE_BROKER_METRICS_PORT", 17676),
    "database": ("REGENTE_DATABASE_PORT", 17017),
}
SERVICES = ("console", "collector", "scheduler", "executor", "delivery", "alerts")
CLUSTER_PORT = ("REGENTE_CLUSTER_PORT", 17700)
"""The first of the ports of what a cluster has beyond PORTS: settings.CLUSTER_PORTS of them, one after the other."""
MEMBERS = 3
"""Nodes of the broker and members of the database."""
INSTANCES = 2
"""Of each service."""
SERVERS = ("broker", "broker_admin", "broker_dist", "broker_epmd", "broker_metrics", "database")
CLUSTER_PORTS = (
    *(f"{name}-{n}" for n in range(2, MEMBERS + 1) for name in SERVERS if name != "broker_epmd"),
    *(f"{name}-{n}" for name in SERVICES for n in range(1, INSTANCES + 1)),
)
"""Names of the other members' ports, and of the instances' behind the proxy, which has the services' own."""


@dataclass(frozen=True)
class StackSettings:
    """Where and on which ports."""

    home: Path
    ports: dict[str, int]
    amqp_url: str | None
    """Existing servers, used instead of our own when both are set."""
    amqp_admin_url: str | None
    mongo_url: str | None
    cluster: dict[str, int] | None = None
    """Ports by CLUSTER_PORTS, where there are several of each; none: one of each."""
    own_users: bool = True
    """Whether each service has users of its own at broker and database, where these are ours to start."""

    @property
    def own_servers(self) -> bool:
        """Whether broker and database are ours to start."""
        return not (self.amqp_url and self.mongo_url)


def read_settings() -> StackSettings:
    """Read the environment.

    Raises: StackError that names the setting.
    """
    home = Path(os.environ.get("REGENTE_HOME") or REPO / ".regente").resolve()
    amqp, mongo = os.environ.get("REGENTE_AMQP_URL"), os.environ.get("REGENTE_MONGO_URL")
    if bool(amqp) != bool(mongo):
        raise StackError("set both REGENTE_AMQP_URL and REGENTE_MONGO_URL to use existing servers, or neither")
    ports = {name: port for name, (_, port) in ports_from(PORTS).items()}
    own_users = os.environ.get("REGENTE_OWN_USERS", "1") != "0"
    return StackSettings(home, ports, amqp, os.environ.get("REGENTE_AMQP_ADMIN_URL"), mongo, own_users=own_users)


def as_cluster(settings: StackSettings) -> StackSettings:
    """The same with several of each.

    Raises: StackError that names the setting.
    """
    if not settings.own_servers:
        raise StackError("a cluster starts servers of its own: unset REGENTE_AMQP_URL and REGENTE_MONGO_URL")
    first = _port(*CLUSTER_PORT)
    if first + len(CLUSTER_PORTS) > 65535:
        raise StackError(f"{CLUSTER_PORT[0]}={first}: {len(CLUSTER_PORTS)} ports from there on are needed; set a lower")
    return replace(settings, cluster={name: first + n for n, name in enumerate(CLUSTER_PORTS)})


def check_ports(settings: StackSettings, extra: Mapping[str, tuple[str, int]]) -> None:
    """See that every port that will be needed is free. `extra`: setting and port by name, of what runs beside the
    stack.

    Raises: StackError that names port and setting of every one that is taken.
    """
    names = [*SERVICES, *(SERVERS if settings.own_servers else ())]
    wanted = {**{name: (PORTS[name][0], settings.ports[name]) for name in names}, **extra}
    wanted |= {name: (CLUSTER_PORT[0], port) for name, port in (settings.cluster or {}).items()}
    wrong: list[str] = []
    seen: dict[int, str] = {}
    for name, (setting, port) in wanted.items():
        if port in seen:
            wrong.append(f"port {port} is asked for by {seen[port]} and by {setting}; set one of them to another")
        elif not port_is_free(port):
            wrong.append(
                f"port {port} ({name}) is taken{holder(port)}; set {setting} to another, or stop what listens there"
            )
        seen[port] = setting
    if wrong:
        raise StackError("\n         ".join(wrong))


def ports_from(settings: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """A table of settings and default ports, such as PORTS, as the environment has it.

    Raises: StackError that names the setting.
    """
    return {name: (setting, _port(setting, default)) for name, (setting, default) in settings.items()}


def port_is_free(port: int) -> bool:
    """Whether something could listen on this port of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(names: tuple[str, ...], start: int = 20000, end: int = 32000) -> dict[str, int]:
    """A free port below the ephemeral range for each name; differs between processes that ask at the same time."""
    found: dict[str, int] = {}
    port = start + (os.getpid() * 37) % (end - start - 1000)
    while len(found) < len(names):
        if port_is_free(port):
            found[names[len(found)]] = port
        port = port + 1 if port < end else start
    return found


def holder(port: int) -> str:
    """' by NAME (pid N)' of the process that listens on a port, when this user may see it."""
    inode = _listening_inode(port)
    if inode is None:
        return ""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) == f"socket:[{inode}]" for link in (entry / "fd").iterdir()):
                return f" by {(entry / 'comm').read_text().strip()} (pid {entry.name})"
        except OSError:
            continue
    return ""


def _listening_inode(port: int) -> str | None:
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            return fields[9]
    return None


def _port(setting: str, default: int) -> int:
    text = os.environ.get(setting, str(default))
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise StackError(f"{setting}={text!r} is no port; give a number from 1 to 65535")
    return int(text)
