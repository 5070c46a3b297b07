"""A cluster comes up with TLS everywhere, and bears some of the faults of `make chaos`; that has all of them."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.cluster import certificates
from deploy.local.settings import SERVICES, read_settings
from shared.contracts.rights import user_of
from tests.chaos.faults import Act, Fault
from tests.chaos.flow import Flow
from tests.chaos.storm import Storm, check
from tests.e2e.stack import Stack, running_stack

FAULTS = (
    Fault(Act.KILL, "database-1", "database"),
    Fault(Act.KILL, "broker-2", "broker"),
    Fault(Act.FREEZE, "executor-1", "executor"),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Stack]:
    """Three of each server, two of each service, robots."""
    home = Path(tempfile.mkdtemp(prefix="regente-cluster-"))
    with running_stack(home, read_settings().home, cluster=True) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
def test_some_faults_lose_nothing_and_do_nothing_twice(cluster: Stack) -> None:
    flow = Flow(cluster)
    flow.start()
    storm = Storm(cluster, flow)
    try:
        rows = storm.run(FAULTS)
    finally:
        flow.stop()
    storm.finish()
    assert check(cluster, flow) == []
    assert [row.title for row in rows if row.recovered_s is None] == []
    assert all(row.in_hand for row in rows)


def test_every_instance_beats_and_nothing_speaks_without_tls(cluster: Stack) -> None:
    """Each of the two instances of each service has its lease; no port takes plain HTTP, AMQP or MongoDB's protocol."""
    cluster.until(cluster.all_ready, "everything is up")
    leases = {one["_id"]: one for one in cluster.database["leases"].find({"owner": {"$ne": None}})}
    for name in SERVICES:
        for n in (1, 2):
            found = [id for id in leases if id.startswith(f"{name}/{name}-{n}")]
            assert found, f"{name}-{n} does not beat: {sorted(leases)}"
            assert leases[found[0]]["url"].startswith("https://")
    members = cluster.launcher.settings.cluster
    assert members is not None
    for name in SERVICES:
        for port in (cluster.launcher.settings.ports[name], members[f"{name}-1"]):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(f"https://127.0.0.1:{port}/healthz", timeout=5)
    with socket.create_connection(("127.0.0.1", members["broker-2"]), timeout=5) as plain:
        plain.settimeout(5)
        plain.sendall(b"AMQP\x00\x00\x09\x01")
        assert plain.recv(8)[:1] != b"\x01", "the broker answers without TLS"


def test_services_come_as_their_own_users(cluster: Stack) -> None:
    """At the broker and in the database: none of them as the administrator, each as itself."""
    cluster.until(cluster.all_ready, "everything is up")
    wanted = {user_of(name) for name in SERVICES}
    servers = cluster.launcher.servers
    assert servers is not None
    trust = ssl.create_default_context(cafile=certificates(cluster.home) / "ca.pem")
    with httpx.Client(base_url=servers.amqp_admin_url.split(",")[0], timeout=10, verify=trust) as admin:
        rows = admin.get("/api/connections").raise_for_status().json()
    assert {row["user"] for row in rows if not row["user"].startswith("worker.")} == wanted
    pipeline = [{"$currentOp": {"allUsers": True, "idleConnections": True}}]
    clients = list(cluster.database.client.admin.aggregate(pipeline))
    users = {user["user"] for one in clients for user in one.get("effectiveUsers") or ()}
    assert wanted <= users
