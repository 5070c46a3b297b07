"""The scheduler's settings, read once from REGENTE_* variables.

Called by: main.py. Change also: README.md of this folder, the local stack where it sets any of them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field

from shared.runtime.settings import ServiceSettings


class SchedulerSettings(ServiceSettings):
    """Settings of the scheduler; times in seconds."""

    http_port: int = Field(default=8002, ge=1, le=65535, description="Where robots enrol.")
    worker_amqp_hosts: str = Field(
        default="", description="Brokers that robots are told, host:port by comma; empty: those of REGENTE_AMQP_URL."
    )
    worker_amqp_tls: bool | None = Field(
        default=None, description="Whether those brokers speak TLS to robots; empty: as REGENTE_AMQP_URL does."
    )
    silent_s: float = Field(
        default=10.0, gt=0, description="A robot whose beat stands still this long is disconnected."
    )
    reconnect_grace_s: float = Field(
        default=5.0, ge=0, description="After the broker was away, time for robots to log in again that doesn't count."
    )
    beats_flush_s: float = Field(default=0.3, gt=0, le=5, description="Heartbeats are written this often, in bulk.")
    dispatch_sweep_s: float = Field(
        default=1.0, gt=0, description="The queue is looked at this often without any hint."
    )
    zombie_sweep_s: float = Field(default=5.0, gt=0, description="Runs, robots and tasks are compared this often.")
    stall_grace_s: float = Field(
        default=60.0, gt=0, description="A run that stands still this long, beyond its instruction's time, is ended."
    )
    wanting_robot_s: float = Field(
        default=300.0, gt=0, description="A run that gave its robot back and finds none again this long is told of."
    )
    closing_sweep_s: float = Field(default=5.0, gt=0, description="Runs are compared with windows this often.")
    keys_sweep_s: float = Field(
        default=5.0, gt=0, description="Waiting tasks are matched with a new version's scenarios this often."
    )
    rights_sweep_s: float = Field(
        default=10.0, gt=0, description="The broker's users and queues are compared this often."
    )
    server_runs_max: int = Field(
        default=100, ge=1, le=10_000, description="Runs without a robot that may be at work at once; parked ones aside."
    )
    enrol_retry_s: float = Field(default=2.0, gt=0, description="A pending robot asks again after this time.")
    enrol_per_s: float = Field(default=50.0, gt=0, description="Requests to enrol per second and client address.")
    enrol_burst: int = Field(default=200, ge=1, description="Requests to enrol at once from one client address.")
    robots_pending_max: int = Field(
        default=1000, ge=1, description="Robots that may wait for a person to authorise them."
    )

    @property
    def worker_tls(self) -> bool:
        """Whether robots are to speak TLS to the broker."""
        return self.worker_amqp_tls if self.worker_amqp_tls is not None else self.amqp_urls[0].startswith("amqps:")

    def worker_hosts(self) -> list[str]:
        """host:port of the brokers that robots connect to."""
        if self.worker_amqp_hosts.strip():
            return [host.strip() for host in self.worker_amqp_hosts.split(",") if host.strip()]
        parts = [urlsplit(url) for url in self.amqp_urls]
        return [f"{part.hostname}:{part.port or (5671 if part.scheme == 'amqps' else 5672)}" for part in parts]
