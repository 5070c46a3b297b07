"""A private RabbitMQ node and a private one-node replica set, as children of this process; or one member of each of a
cluster (cluster.py).

Called by: launcher.py, cluster.py, tests/conftest.py. Survives a crash: their data folders; a start on an existing
folder goes on with it. Both are started at once; ports, names, users and data are our own, so a broker or database
that runs on this machine already is left alone. Sources: https://www.rabbitmq.com/docs/configure,
https://www.mongodb.com/docs/manual/reference/program/mongod/ (localhost exception for the first user)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deploy.local import parts
from deploy.local.console_lines import StackError
from deploy.local.definitions import definitions
from deploy.local.processes import Process, kill_group, kill_marked, start, stop_all
from shared.contracts.rights import SERVICES

USER = "regente"
VHOST = "regente"
READY_S = 60.0
STOP_S = 1.5
NET_TICK_S = 8
"""A node that hangs is given up after so long (a minute is the default); 18 s till work flows again."""
ELECTIONS = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 400}
"""Of a replica set of several: a primary that died is followed after 3 s instead of 12."""
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus]."
PLUGIN_ROOTS = ("rabbit", "rabbitmq_prelaunch", "rabbitmq_management", "rabbitmq_prometheus", "getopt")
"""What the node is made of; getopt is needed by the reader of rabbitmq.conf, which does not say so."""


@dataclass(frozen=True)
class Membership:
    """This node's place among the nodes of a cluster."""

    peers: tuple[Mapping[str, int], ...]
    """The ports of all members, this one among them; the first one makes the replica set."""
    secrets: Path
    """Folder of what all members share: passwords, the database's key file, Erlang's cookie."""
    first: bool
    certificates: Path | None = None
    """Folder with ca.pem and server.pem, .key, .both.pem: all connections are TLS; none: none is."""


class Servers:
    """Broker and database in one folder."""

    def __init__(
        self,
        home: Path,
        folder: Path,
        ports: dict[str, int],
        membership: Membership | None = None,
        *,
        own_users: bool = False,
    ) -> None:
        """`home`: where fetched parts lie; `folder`: data, logs and secrets of these servers; `ports`:
        settings.SERVERS by name; `membership`: none: they stand alone; `own_users`: the broker knows a user of each
        service, also after its data was lost."""
        self._own_users = own_users
        self.folder = folder
        self.ports = ports
        self.mark = f"{folder}#servers#"
        self.membership = membership
        self._home = home
        self._secrets = membership.secrets if membership else folder / "secrets"
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.cancelled: Callable[[], bool] = lambda: False
        """Asked while a start is waited for; true gives it up."""
        for part in (folder, self._secrets, *(folder / name for name in ("logs", "data"))):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.amqp_password = secret(self._secrets / "amqp_password")
        self.mongo_password = secret(self._secrets / "mongo_password")

    def service_password(self, service: str) -> str:
        """The password of a service's own user, at broker and database."""
        return secret(self._secrets / f"user_{service}")

    @property
    def certificates(self) -> Path | None:
        """Folder of the certificates, where connections are TLS."""
        return self.membership.certificates if self.membership else None

    @property
    def amqp_url(self) -> str:
        """Where services connect to the broker."""
        scheme = "amqps" if self.certificates else "amqp"
        return f"{scheme}://{USER}:{quote(self.amqp_password)}@127.0.0.1:{self.ports['broker']}/{VHOST}"

    @property
    def amqp_admin_url(self) -> str:
        """The broker's management API."""
        scheme = "https" if self.certificates else "http"
        return f"{scheme}://{USER}:{quote(self.amqp_password)}@127.0.0.1:{self.ports['broker_admin']}"

    @property
    def mongo_url(self) -> str:
        """Where services connect to the database."""
        password = quote(self.mongo_password)
        return f"mongodb://{USER}:{password}@127.0.0.1:{self.ports['database']}/?replicaSet=rs&authSource=admin"

    def start(self) -> None:
        """Start both and wait until both answer.

        Raises: StackError; nothing is left running then.
        """
        try:
            for name in ("epmd", "broker", "database"):
                self.launch(name)
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self, name: str, mark: str | None = None) -> subprocess.Popen[bytes]:
        """Start one of them, without waiting until it is ready: epmd, broker or database."""
        argv, env = {"epmd": self._epmd, "broker": self._broker, "database": self._database}[name]()
        log = self.folder / "logs" / f"{name}.log"
        mark = mark or f"{self.mark}{name}#"
        child = start(Process(name, name, argv, env), env=clean_environment(), log=log, mark=mark, cwd=self.folder)
        self.children[name] = child
        return child

    def is_ready(self, name: str) -> bool:
        """Whether one of them does its work.

        Raises: StackError when the database can't be set up.
        """
        return {"epmd": self._epmd_ready, "broker": self._broker_ready, "database": self._database_ready}[name]()

    def wait_ready(self) -> None:
        """Wait until all answer.

        Raises: StackError with the end of the log.
        """
        deadline = time.monotonic() + READY_S
        waiting = list(self.children)
        while waiting:
            for name in list(waiting):
                if self.is_ready(name):
                    waiting.remove(name)
                elif self.children[name].poll() is not None:
                    code = self.children[name].returncode
                    raise StackError(f"{name} ended at its start (exit code {code}):\n{log_end(self.folder, name)}")
            if waiting and time.monotonic() > deadline:
                raise StackError(
                    f"{waiting[0]} is not ready after {READY_S:.0f} s:\n{log_end(self.folder, waiting[0])}"
                )
            if self.cancelled():
                raise StackError("stopped")
            time.sleep(0.03)

    def stop(self) -> None:
        """Stop both; a broker that takes longer than 1.5 s is killed, which is safe for what it stores."""
        stop_all([self.children[name] for name in ("broker", "database") if name in self.children], STOP_S)
        stop_all([self.children[name] for name in ("epmd",) if name in self.children], 0.5)
        kill_marked(self.mark)
        self.children.clear()

    def kill(self, name: str) -> None:
        """kill -9 of the broker or the database."""
        kill_group(self.children[name])

    def pids(self) -> dict[str, int]:
        """The processes, by name."""
        return {name: child.pid for name, child in self.children.items()}

    def restart(self, name: str, *, wipe: bool = False) -> None:
        """Kill and start again, with an empty data folder if `wipe`; returns when it is ready."""
        self.kill(name)
        if wipe:
            shutil.rmtree(self.folder / "data" / name, ignore_errors=True)
        self.launch(name)
        self.wait_ready()

    def version(self, name: str) -> str:
        """The running server's version; of epmd nothing is known."""
        try:
            if name == "database":
                with self._client() as client:
                    return str(client.admin.command("buildInfo")["version"])
            if name == "broker":
                scheme = "https" if self.certificates else "http"
                url = f"{scheme}://127.0.0.1:{self.ports['broker_admin']}/api/overview"
                request = urllib.request.Request(url)
                user = base64.b64encode(f"{USER}:{self.amqp_password}".encode()).decode()
                request.add_header("Authorization", f"Basic {user}")
                with urllib.request.urlopen(request, timeout=3, context=self._trust()) as answer:  # nosec B310 - ours
                    return str(json.load(answer)["rabbitmq_version"])
        except (OSError, PyMongoError, ValueError, KeyError):
            return ""
        return ""

    # broker

    def _epmd(self) -> tuple[list[str], dict[str, str]]:
        _, env = parts.rabbitmq(self._home)
        path = env.get("PATH", os.environ.get("PATH"))
        program = shutil.which("epmd", path=path)
        if program is None:
            raise StackError(
                "epmd (a part of Erlang) is missing; remove the folder parts in REGENTE_HOME and start again"
            )
        return [program, "-port", str(self.ports["broker_epmd"]), "-address", "127.0.0.1"], env

    def _broker(self) -> tuple[list[str], dict[str, str]]:
        scripts, env = parts.rabbitmq(self._home)
        data = self.folder / "data" / "broker"
        data.mkdir(parents=True, exist_ok=True)
        cookie = kept_secret(self._secrets / "erlang_cookie", lambda: secrets.token_hex(20))
        kept_secret(data / ".erlang.cookie", lambda: cookie, 0o400)
        (data / "rabbitmq.conf").write_text(self._broker_conf(data))
        (data / "definitions.json").write_text(self._definitions())
        (data / "advanced.config").write_text("[].\n")
        # Erlang asks the system for the node's host name; a small machine may have no /etc/hosts, or name ::1 there.
        (data / "inetrc").write_text('{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n')
        (data / "enabled_plugins").write_text(PLUGINS + "\n")
        links = parts.plugin_links(scripts, data / "plugins", PLUGIN_ROOTS)
        plugins = {"RABBITMQ_PLUGINS_DIR": str(links)} if links else {}
        return [str(scripts / "rabbitmq-server")], {**env, **self._broker_env(data), **plugins}

    def _broker_env(self, data: Path) -> dict[str, str]:
        return {
            "HOME": str(data),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"regente{self.ports['broker']}@localhost",
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(data / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_DIST_PORT": str(self.ports["broker_dist"]),
            "ERL_EPMD_PORT": str(self.ports["broker_epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_INETRC": str(data / "inetrc"),
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}"
            + (f" -kernel net_ticktime {NET_TICK_S}" if self.membership else ""),
        }

    def _broker_conf(self, data: Path) -> str:
        return "\n".join(
            [
                *self._listeners(),
                "prometheus.tcp.ip = 127.0.0.1",
                f"prometheus.tcp.port = {self.ports['broker_metrics']}",
                f"load_definitions = {data / 'definitions.json'}",
                "log.console = true",
                "log.console.level = warning",
                "log.file = false",
                "disk_free_limit.absolute = 200MB",
                "vm_memory_high_watermark.absolute = 1GB",
                "collect_statistics_interval = 5000",
                *self._formation(),
                "",
            ]
        )

    def _listeners(self) -> list[str]:
        """Where it listens. Source: https://www.rabbitmq.com/docs/ssl."""
        listen, admin, certificates = f"127.0.0.1:{self.ports['broker']}", self.ports["broker_admin"], self.certificates
        if certificates is None:
            return [
                f"listeners.tcp.1 = {listen}", "management.tcp.ip = 127.0.0.1", f"management.tcp.port = {admin}",
            ]  # fmt: skip
        files = {"cacertfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
        return [
            "listeners.tcp = none",
            f"listeners.ssl.1 = {listen}",
            *(f"ssl_options.{name} = {certificates / file}" for name, file in files.items()),
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = false",
            "ssl_options.versions.1 = tlsv1.3",
            "ssl_options.versions.2 = tlsv1.2",
            "management.ssl.ip = 127.0.0.1",
            f"management.ssl.port = {admin}",
            *(f"management.ssl.{name} = {certificates / file}" for name, file in files.items()),
        ]

    def _trust(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.certificates / "ca.pem") if self.certificates else None

    def _formation(self) -> list[str]:
        """The cluster's nodes. Source: https://www.rabbitmq.com/docs/cluster-formation, /docs/partitions.

        autoheal, not pause_minority: a node that hung for longer than the tick stays apart for ever with the latter
        (rabbitmq-server issues 8110, 17319; seen here), its classic queues with it. What autoheal may lose, messages
        of the side that is started anew, the database sends again.
        """
        if self.membership is None:
            return []
        nodes = [f"regente{peer['broker']}@localhost" for peer in self.membership.peers]
        return [
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{n} = {node}" for n, node in enumerate(nodes, 1)),
            "cluster_partition_handling = autoheal",
            "queue_leader_locator = balanced",
        ]

    def _definitions(self) -> str:
        own = {name: self.service_password(name) for name in SERVICES} if self._own_users else {}
        return definitions(VHOST, USER, self.amqp_password, own)

    def _epmd_ready(self) -> bool:
        return _listens(self.ports["broker_epmd"])

    def _broker_ready(self) -> bool:
        return _answers_amqp(self.ports["broker"], self._trust()) and _listens(self.ports["broker_admin"])

    # database

    def _database(self) -> tuple[list[str], dict[str, str]]:
        program, env = parts.mongod(self._home)
        data = self.folder / "data" / "database"
        data.mkdir(parents=True, exist_ok=True)
        key = self._secrets / "mongo_keyfile"
        kept_secret(key, lambda: base64.b64encode(secrets.token_bytes(96)).decode(), 0o400)
        argv = [str(program), "--port", str(self.ports["database"])]
        argv += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs", "--oplogSize", "256"]
        argv += [
            "--dbpath",
            str(data),
            "--keyFile",
            str(key),
            "--wiredTigerCacheSizeGB",
            "0.25" if self.membership else "0.5",
            "--quiet",
        ]
        argv += ["--wiredTigerEngineConfigString", "log=(file_max=16MB)"]
        argv += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        argv += ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
        # A scheduler killed within a transaction must not keep its documents locked for a minute, the default.
        argv += ["--setParameter", "transactionLifetimeLimitSeconds=10"]
        if self.certificates is not None:
            argv += ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(self.certificates / "server.both.pem")]
            argv += ["--tlsCAFile", str(self.certificates / "ca.pem"), "--tlsAllowConnectionsWithoutCertificates"]
        return argv, env

    def _database_ready(self) -> bool:
        if not _listens(self.ports["database"]):
            return False
        try:
            return self._database_made() or self._make_database()
        except PyMongoError:
            return False

    def _database_made(self) -> bool:
        """Whether the replica set exists and our user can write to it."""
        with self._client() as client:
            try:
                hello = client.admin.command("hello")
                if self.membership and hello.get("secondary"):
                    return bool(client.admin.command("usersInfo", USER)["users"])
                return bool(hello["isWritablePrimary"] and client.admin.command("usersInfo", USER)["users"])
            except OperationFailure as error:
                if error.code == AUTHENTICATION_FAILED:
                    return False
                raise

    def _is_ours(self) -> bool:
        """Whether the database takes our password. Raises: PyMongoError when it can't say."""
        with self._client() as client:
            try:
                client.admin.command("usersInfo", USER)
            except OperationFailure as error:
                if error.code == AUTHENTICATION_FAILED:
                    return False
                raise
        return True

    def _client(self) -> MongoClient[dict[str, object]]:
        return MongoClient(
            "127.0.0.1",
            self.ports["database"],
            username=USER,
            password=self.mongo_password,
            authSource="admin",
            directConnection=True,
            serverSelectionTimeoutMS=1000,
            connectTimeoutMS=1000,
            socketTimeoutMS=3000,
            **self._tls(),
        )

    def _tls(self) -> dict[str, Any]:
        """What a client of the database is given beside the address."""
        return {"tls": True, "tlsCAFile": str(self.certificates / "ca.pem")} if self.certificates else {}

    def _make_database(self) -> bool:
        """Make the replica set and the first user, through the exception that localhost has while there is none."""
        client: MongoClient[dict[str, object]] = MongoClient(
            "127.0.0.1",
            self.ports["database"],
            directConnection=True,
            serverSelectionTimeoutMS=1000,
            socketTimeoutMS=5000,
            **self._tls(),
        )
        with client:
            if not client.admin.command("hello").get("setName"):
                self._make_set(client)
                return False
            if not client.admin.command("hello")["isWritablePrimary"]:
                return False
            self._make_user(client)
        return False

    def _make_set(self, client: MongoClient[dict[str, object]]) -> None:
        peers = self.membership.peers if self.membership else (self.ports,)
        if self.membership and not (self.membership.first and all(_listens(peer["database"]) for peer in peers)):
            return
        members = [{"_id": n, "host": f"127.0.0.1:{peer['database']}"} for n, peer in enumerate(peers)]
        settings = {"settings": ELECTIONS} if self.membership else {}
        client.admin.command("replSetInitiate", {"_id": "rs", "members": members, **settings})

    def _make_user(self, client: MongoClient[dict[str, object]]) -> None:
        try:
            client.admin.command("createUser", USER, pwd=self.mongo_password, roles=["root"])
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:
                # There is a user: ours, when the node has become the primary since `_database_made` looked.
                if self._is_ours():
                    return
                raise StackError(
                    f"the database in {self.folder / 'data' / 'database'} has another password than "
                    f"{self.folder / 'secrets'} says; bring that folder's files back, or remove the data to begin anew"
                ) from error
            raise


def secret(path: Path) -> str:
    """A random text kept in a file of mode 0600, made at the first call."""
    return kept_secret(path, lambda: secrets.token_urlsafe(24))


def kept_secret(path: Path, make: Callable[[], str], mode: int = 0o600) -> str:
    """What stands in a file; made at the first call, and moved into its place whole."""
    if not path.exists():
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(make(), encoding="ascii")
        new.chmod(mode)
        new.rename(path)
    return path.read_text(encoding="ascii")


def log_end(folder: Path, name: str, lines: int = 12) -> str:
    """The last lines of a process's log under `folder`."""
    log = folder / "logs" / f"{name}.log"
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else ["(no log)"]
    return "\n".join(f"    {line[:400]}" for line in text)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change a child's behaviour behind our back."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "PYTHONPATH"))}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers_amqp(port: int, trust: ssl.SSLContext | None = None) -> bool:
    """Whether a broker answers the protocol header with a method frame."""
    try:
        with contextlib.ExitStack() as stack:
            probe: socket.socket = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.5))
            probe.settimeout(1.0)
            if trust is not None:
                probe = stack.enter_context(trust.wrap_socket(probe, server_hostname="127.0.0.1"))
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
    except OSError:
        return False
