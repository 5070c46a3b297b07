"""What benches stand on: private servers in a folder of their own, taken away at the end.

Where REGENTE_MONGO_URL is set, that database (and, for benches that need a broker, REGENTE_AMQP_URL) is used; a bench
makes databases and virtual hosts of its own there and drops them.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.servers import Servers
from deploy.local.settings import SERVERS, free_ports, read_settings

READY_S = 60.0


@dataclass(frozen=True)
class Ground:
    """Where a bench may work."""

    mongo_url: str
    amqp_url: str | None = None
    """Broker and its management API; none for benches that did not ask for one."""
    amqp_admin_url: str | None = None

    def say(self, text: str, *, end: str = "\n") -> None:
        """Tell people how far it is."""
        print(text, end=end, file=sys.stderr, flush=True)


@contextlib.contextmanager
def prepared(*, broker: bool = False) -> Iterator[Ground]:
    """A database server, and a broker for those that need one, started if none is given."""
    settings = read_settings()
    if settings.mongo_url is not None and (not broker or settings.amqp_admin_url is not None):
        yield Ground(settings.mongo_url, settings.amqp_url, settings.amqp_admin_url)
        return
    room = settings.home / "bench"
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="servers-", dir=room))
    servers = Servers(settings.home, folder, free_ports(SERVERS))
    try:
        if broker:
            servers.start()
            yield Ground(servers.mongo_url, servers.amqp_url, servers.amqp_admin_url)
        else:
            _start_database(servers)
            yield Ground(servers.mongo_url)
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _start_database(servers: Servers) -> None:
    child = servers.launch("database")
    deadline = time.monotonic() + READY_S
    while not servers.is_ready("database"):
        log = servers.folder / "logs" / "database.log"
        assert child.poll() is None, f"the database ended at its start; look at {log}"
        assert time.monotonic() < deadline, f"the database is not ready after {READY_S:.0f} s; look at {log}"
        time.sleep(0.05)
