"""Three RabbitMQ nodes, three members of a replica set, and the proxy before two of each service, on this machine.

Called by: launcher.py. Survives a crash: the members' data folders; a start on existing ones goes on with them. What
was measured: brokers that are started together find each other in 15 to 20 s, and one start in some ends with
incompatible_feature_flags, after which that node is started again (the supervisor does that with whatever ends).
Sources: https://www.rabbitmq.com/docs/cluster-formation, https://www.rabbitmq.com/docs/partitions,
https://www.mongodb.com/docs/manual/reference/replica-configuration/, https://docs.haproxy.org/2.6/configuration.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from deploy.local.console_lines import StackError
from deploy.local.servers import USER, Membership, Servers
from deploy.local.settings import MEMBERS, SERVERS
from shared.runtime.certificates import BadCertificates, make


class ClusterServers:
    """The members of broker and database, each pair in a folder of its own."""

    def __init__(
        self, home: Path, ports: Mapping[str, int], cluster: Mapping[str, int], *, own_users: bool = False
    ) -> None:
        """`home`: the stack's folder; `ports`: settings.SERVERS by name, of the first member; `cluster`: those of the
        others, as settings.CLUSTER_PORTS names them; `own_users`: see Servers."""
        shared = {"broker_epmd": ports["broker_epmd"]}  # nodes on one machine find each other by one epmd
        peers = tuple(
            {name: ports[name] for name in SERVERS}
            if n == 1
            else {**shared, **{name: cluster[f"{name}-{n}"] for name in SERVERS if name not in shared}}
            for n in range(1, MEMBERS + 1)
        )
        secrets = home / "secrets"
        self.certificates = certificates(home)
        self.members = [
            Servers(
                home,
                home / "cluster" / str(n),
                peer,
                Membership(peers, secrets, first=n == 1, certificates=self.certificates),
                own_users=own_users,
            )
            for n, peer in enumerate(peers, 1)
        ]

    def service_password(self, service: str) -> str:
        """The password of a service's own user, at broker and database."""
        return self.members[0].service_password(service)

    @property
    def amqp_url(self) -> str:
        """Where services connect to the broker: every node."""
        return ",".join(member.amqp_url for member in self.members)

    @property
    def amqp_admin_url(self) -> str:
        """The nodes' management APIs."""
        return ",".join(member.amqp_admin_url for member in self.members)

    @property
    def mongo_url(self) -> str:
        """Where services connect to the database: every member."""
        hosts = ",".join(f"127.0.0.1:{member.ports['database']}" for member in self.members)
        password = quote(self.members[0].mongo_password)
        trusted = f"&tls=true&tlsCAFile={quote(str(self.certificates / 'ca.pem'), safe='')}"
        return f"mongodb://{USER}:{password}@{hosts}/?replicaSet=rs&authSource=admin{trusted}"

    def stop(self) -> None:
        """Stop whatever of them still runs."""
        for member in self.members:
            member.stop()


def certificates(home: Path) -> Path:
    """An authority, and a certificate for whatever listens on this machine; made where they are missing.

    Raises: StackError.
    """
    folder = home / "certs"
    try:
        make(folder, {"server": ["localhost", "127.0.0.1"]}, datetime.now(UTC))
    except (BadCertificates, OSError) as error:
        raise StackError(f"certificates can't be made in {folder}: {error}") from error
    return folder


def proxy_config(fronts: Mapping[str, int], instances: Mapping[str, Sequence[int]], certificates: Path) -> str:
    """HAProxy's configuration: each service's own port leads to those of its instances that are ready.

    fronts: port by service. instances: ports of its instances by service. certificates: folder as certificates() makes
    it; both sides of the proxy are TLS. A request is sent to another instance only
    when it reached none: what was sent may have been done.
    """
    lines = [
        "global",
        "  maxconn 4000",
        "  log stdout format raw local0 notice",
        "defaults",
        "  mode http",
        "  log global",
        "  option forwardfor",
        "  option redispatch",
        "  option httpchk GET /readyz",
        "  balance roundrobin",
        "  retries 2",
        "  retry-on conn-failure",
        "  timeout connect 1s",
        "  timeout client 75s",
        "  timeout server 75s",
        "  timeout tunnel 1h",
        "  timeout check 2s",
        f"  default-server inter 1s fall 2 rise 1 ssl verify required ca-file {certificates / 'ca.pem'}",
    ]
    for name, port in fronts.items():
        lines += [f"listen {name}", f"  bind 127.0.0.1:{port} ssl crt {certificates / 'server.both.pem'}"]
        lines += [
            f"  server {name}-{n} 127.0.0.1:{own} check verifyhost localhost"
            for n, own in enumerate(instances[name], 1)
        ]
    return "\n".join([*lines, ""])
