"""The launcher: starts servers, services and whatever else is asked for, keeps them running, and stops them all.

Called by: __main__.py, inside the guardian. Survives a crash: the data; run/processes.json says what ran, run/lock is
free again, and the next start kills what still carries our mark. Change also: the settings' table in README.md,
cli/processes.py (reads processes.json).
"""

from __future__ import annotations

import base64
import fcntl
import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pymongo.errors import PyMongoError

from deploy.local import parts
from deploy.local.cluster import ClusterServers, certificates, proxy_config
from deploy.local.console_lines import StackError, say, step
from deploy.local.guardian import reap_orphans
from deploy.local.processes import Process, kill_marked, start
from deploy.local.servers import STOP_S as SERVERS_STOP_S
from deploy.local.servers import Servers, clean_environment, kept_secret, log_end
from deploy.local.settings import INSTANCES, REPO, SERVERS, SERVICES, StackSettings, check_ports
from deploy.local.supervisor import Kept, Supervisor, answers
from shared.contracts.rights import broker_rights, user_of
from shared.runtime.users import as_user, make_database_users

VERSION = "0.1.0"
STOP_S = 20.0
TEND_S = 0.1
BOOTSTRAP_S = 60.0
CLUSTER_READY_S = 120.0
HUNG_S = 10.0
"""A broker's node that hangs for so long is started anew: by itself it would be out for more than a minute after it
went on, and with it the robots whose queues it keeps."""
PROCESSES_FILE = Path("run") / "processes.json"
PID_FILE = Path("run") / "pid"
SERVER_PORTS = {"epmd": "broker_epmd", "broker": "broker", "database": "database"}


class Launcher:
    """One stack on one folder."""

    def __init__(self, settings: StackSettings) -> None:
        self.settings = settings
        self.home = settings.home
        self.servers: Servers | ClusterServers | None = None
        self.stopping = False
        """Set by a signal: whatever is under way gives up."""
        self.supervisor = Supervisor(say, functools.partial(log_end, self.home))
        self._mark = f"{self.home}#"
        self._lock: int | None = None
        self._written = ""

    def obey_signals(self) -> None:
        """Let SIGINT, SIGTERM and SIGHUP stop the stack; call it before `prepare`."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))

    def prepare(self, extra_ports: dict[str, tuple[str, int]]) -> None:
        """The folder, the lock, left-overs, ports. `extra_ports`: setting and port by name, beside the stack's own.

        Raises: StackError.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)
        for name in ("run", "logs", "secrets"):
            (self.home / name).mkdir(mode=0o700, exist_ok=True)
        self._take_lock()
        (self.home / PID_FILE).write_text(str(os.getppid()))
        left = kill_marked(self._mark)
        if left:
            say(f"killed {len(left)} processes that an earlier start had left behind")
        kept_secret(self.home / "secrets" / "master_key", lambda: base64.b64encode(secrets.token_bytes(32)).decode())
        check_ports(self.settings, extra_ports)

    def start(self) -> None:
        """Servers, then services; returns when all are ready.

        Raises: StackError; `stop` is to be called then, too.
        """
        if self.settings.cluster is not None:
            with step("three nodes of RabbitMQ, three members of MongoDB"):
                self.start_cluster(self.settings.cluster)
            with step(f"two of each service ({', '.join(SERVICES)}) behind a proxy"):
                self.add([*self.instances(self.settings.cluster), self.proxy(self.settings.cluster)])
        else:
            if self.settings.own_servers:
                with step("RabbitMQ and MongoDB"):
                    self.start_servers()
            with step(f"services ({', '.join(SERVICES)})"):
                self.add([self.service(name) for name in SERVICES])
        with step("demo account and administrator"):
            self.bootstrap()

    def start_servers(self) -> None:
        """Broker and database, kept running from now on.

        Raises: StackError; nothing of them runs then.
        """
        ports = {name: self.settings.ports[name] for name in SERVERS}
        servers = Servers(self.home, self.home, ports, own_users=self.settings.own_users)
        servers.cancelled = lambda: self.stopping
        self.servers = servers
        servers.start()
        if self.settings.own_users:
            self._make_users(servers)
        for name, child in servers.children.items():
            kept = Kept(
                name=name,
                service=name,
                port=servers.ports[SERVER_PORTS[name]],
                version=servers.version(name),
                mark=f"{servers.mark}{name}#",
                launch=functools.partial(servers.launch, name),
                answers=functools.partial(servers.is_ready, name),
                stop_s=SERVERS_STOP_S,
            )
            self.supervisor.adopt(kept, child)

    def _make_users(self, servers: Servers | ClusterServers) -> None:
        """A user of the database for each service; the broker's stand in its definitions."""
        passwords = {name: servers.service_password(name) for name in SERVICES}
        environment = self.environment()
        ca_file = environment.get("REGENTE_CA_FILE", "")
        try:
            make_database_users(servers.mongo_url, environment["REGENTE_MONGO_DB"], passwords, ca_file)
        except PyMongoError as error:
            raise StackError(f"the services' users of the database can't be made: {error}") from error

    def start_cluster(self, ports: dict[str, int]) -> None:
        """The members of broker and database, kept running from now on.

        Raises: StackError.
        """
        servers = ClusterServers(self.home, self.settings.ports, ports, own_users=self.settings.own_users)
        self.servers = servers
        for n, member in enumerate(servers.members, 1):
            for name in SERVER_PORTS if n == 1 else ("broker", "database"):
                self.supervisor.keep(
                    Kept(
                        name=name if name == "epmd" else f"{name}-{n}",
                        service=name,
                        port=member.ports[SERVER_PORTS[name]],
                        version="",
                        mark=f"{member.mark}{name}#",
                        launch=functools.partial(member.launch, name),
                        answers=functools.partial(member.is_ready, name),
                        stop_s=SERVERS_STOP_S,
                        hung_s=HUNG_S if name == "broker" else None,
                    )
                )
        self.supervisor.wait_ready(lambda: self.stopping, CLUSTER_READY_S)
        for kept in self.supervisor.kept:
            kept.version = servers.members[0].version(kept.service)
        if self.settings.own_users:
            self._make_users(servers)

    def instances(self, ports: Mapping[str, int]) -> list[Process]:
        """Two of each service, each on a port of its own."""
        found = []
        for name in SERVICES:
            for n in range(1, INSTANCES + 1):
                instance = f"{name}-{n}"
                env = {"REGENTE_HTTP_PORT": str(ports[instance]), "REGENTE_INSTANCE": instance}
                env["REGENTE_PROXIES"] = "127.0.0.1/32"
                env |= self._tls() | self._own_user(name)
                argv = [sys.executable, "-m", f"services.{name}"]
                found.append(
                    Process(instance, name, argv, env, ports[instance], f"https://127.0.0.1:{ports[instance]}/readyz")
                )
        return found

    def _tls(self) -> dict[str, str]:
        """What the services of a cluster are given besides."""
        folder = certificates(self.home)
        return {
            "REGENTE_HTTP_TLS_CERT": str(folder / "server.pem"),
            "REGENTE_HTTP_TLS_KEY": str(folder / "server.key"),
        }

    def proxy(self, ports: Mapping[str, int]) -> Process:
        """What leads the services' own ports to their instances."""
        program, env = parts.haproxy(self.home)
        config = self.home / "run" / "haproxy.cfg"
        fronts = {name: self.settings.ports[name] for name in SERVICES}
        own = {name: [ports[f"{name}-{n}"] for n in range(1, INSTANCES + 1)] for name in SERVICES}
        config.write_text(proxy_config(fronts, own, certificates(self.home)))
        port = self.settings.ports["collector"]
        return Process(
            "proxy", "proxy", [str(program), "-db", "-f", str(config)], env, port, f"https://127.0.0.1:{port}/readyz"
        )

    def add(self, processes: Sequence[Process]) -> None:
        """Start processes, keep them running from now on, and wait until all are ready.

        Raises: StackError.
        """
        for process in processes:
            self.supervisor.keep(self._kept(process))
        self._write_state()
        self.supervisor.wait_ready(lambda: self.stopping)
        self._write_state()

    def service(self, name: str) -> Process:
        """One of Regente's services, as a process."""
        port = self.settings.ports[name]
        env = {"REGENTE_HTTP_PORT": str(port), "REGENTE_INSTANCE": f"{name}-1", **self._own_user(name)}
        return Process(f"{name}-1", name, [sys.executable, "-m", f"services.{name}"], env, port, "/readyz")

    def _own_user(self, service: str) -> dict[str, str]:
        """A service's addresses of broker and database with its own user, where it has one."""
        if not self.settings.own_users or self.servers is None:
            return {}
        user, password = user_of(service), self.servers.service_password(service)
        admin = bool(broker_rights(service).tags)
        return {
            "REGENTE_AMQP_URL": as_user(self.servers.amqp_url, user, password),
            "REGENTE_AMQP_ADMIN_URL": as_user(self.servers.amqp_admin_url, user, password) if admin else "",
            "REGENTE_MONGO_URL": as_user(self.servers.mongo_url, user, password),
        }

    def environment(self) -> dict[str, str]:
        """What every process of the stack finds in its environment."""
        scheme = "https" if self.settings.cluster is not None else "http"
        urls = {f"REGENTE_{name.upper()}_URL": f"{scheme}://127.0.0.1:{self.settings.ports[name]}" for name in SERVICES}
        if self.settings.cluster is not None:
            urls["REGENTE_CA_FILE"] = str(certificates(self.home) / "ca.pem")
        if self.servers is not None:
            urls |= {"REGENTE_AMQP_URL": self.servers.amqp_url, "REGENTE_AMQP_ADMIN_URL": self.servers.amqp_admin_url}
            urls |= {"REGENTE_MONGO_URL": self.servers.mongo_url}
        defaults = {"REGENTE_MONGO_DB": "regente", "REGENTE_HTTP_HOST": "127.0.0.1", "REGENTE_LOG_LEVEL": "info"}
        # The demo's partner, and whoever tries Regente out, listens on this machine.
        defaults |= {"REGENTE_DELIVERY_PRIVATE_ALLOWED": "127.0.0.0/8,::1/128"}
        defaults["REGENTE_SOURCES_PRIVATE_ALLOWED"] = "127.0.0.0/8,::1/128"  # partners on the same machine
        ours = {
            "REGENTE_HOME": str(self.home),
            "REGENTE_MASTER_KEY_FILE": str(self.home / "secrets" / "master_key"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(REPO),
        }
        return {**defaults, **clean_environment(), **parts.libraries(self.home), **urls, **ours}

    def bootstrap(self) -> None:
        """Make the demo account and admin.json, if they are not there.

        Raises: StackError.
        """
        command = [sys.executable, "-m", "services.console.bootstrap", "--out", str(self.home / "admin.json")]
        try:
            done = subprocess.run(
                command,
                env=self.environment(),
                cwd=REPO,
                capture_output=True,
                text=True,
                timeout=BOOTSTRAP_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"making the demo account took longer than {BOOTSTRAP_S:.0f} s") from error
        if done.returncode != 0:
            raise StackError(f"making the demo account failed:\n{done.stderr.strip()[-2000:]}")

    def tend(self) -> None:
        """Start again whoever died, then wait a moment; call it again and again."""
        self.supervisor.tend()
        self._write_state()
        time.sleep(TEND_S)

    def run_attached(self, command: Sequence[str], env: dict[str, str]) -> int | None:
        """Run a command with our own output, tending meanwhile; its exit code, or none when we were stopped."""
        child = subprocess.Popen(list(command), env=env, cwd=REPO, stdin=subprocess.DEVNULL)
        while child.poll() is None:
            if self.stopping:
                child.terminate()
                try:
                    child.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    child.kill()
                return None
            self.tend()
            reap_orphans(self.supervisor.pids() | {child.pid})
        return child.returncode

    def stay_up(self) -> None:
        """Tend until a signal comes."""
        while not self.stopping:
            self.tend()
            reap_orphans(self.supervisor.pids())

    def stop(self) -> None:
        """Stop everything: services first, then the servers they need."""
        servers = [kept for kept in self.supervisor.kept if kept.service in SERVER_PORTS]
        self.supervisor.stop([kept for kept in self.supervisor.kept if kept not in servers])
        self.supervisor.stop([kept for kept in servers if kept.service != "epmd"])
        self.supervisor.stop(servers)
        if self.servers is not None:
            self.servers.stop()
        if self._lock is not None:
            clear_state(self.home)
            os.close(self._lock)
            self._lock = None

    def _kept(self, process: Process) -> Kept:
        def launch(mark: str) -> subprocess.Popen[bytes]:
            log = self.home / "logs" / f"{process.name}.log"
            return start(process, env=self.environment(), log=log, mark=mark, cwd=REPO)

        return Kept(
            name=process.name,
            service=process.service,
            port=process.port,
            version=VERSION,
            mark=f"{self._mark}{process.name}#",
            launch=launch,
            answers=lambda: answers(process.port, process.ready),
            stop_s=STOP_S,
        )

    def _take_lock(self) -> None:
        lock = os.open(self.home / "run" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StackError(
                f"a stack runs already on {self.home}: stop it (make down, or Ctrl-C where it runs), "
                "or set REGENTE_HOME and the ports to others"
            ) from error
        self._lock = lock

    def _write_state(self) -> None:
        text = json.dumps(self.supervisor.rows(), indent=1)
        if text != self._written:
            new = self.home / "run" / "processes.json.new"
            new.write_text(text)
            new.rename(self.home / PROCESSES_FILE)
            self._written = text


def clear_state(home: Path) -> None:
    """Nothing runs any more: say so."""
    for file in (PROCESSES_FILE, PID_FILE):
        (home / file).unlink(missing_ok=True)
