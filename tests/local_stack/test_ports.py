from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from deploy.local.console_lines import StackError
from deploy.local.settings import PORTS, StackSettings, check_ports, read_settings
from tests.local_stack.conftest import Path


def settings_with(home: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    for name in ("REGENTE_AMQP_URL", "REGENTE_MONGO_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return read_settings()


@pytest.fixture
def taken() -> int:
    """A port on which this process listens until the test ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def test_a_taken_port_is_refused_with_port_setting_and_holder(
    home: Path, env: dict[str, str], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_with(home, {**env, "REGENTE_COLLECTOR_PORT": str(taken)}, monkeypatch)
    with pytest.raises(StackError) as caught:
        check_ports(settings, {})
    assert f"port {taken}" in str(caught.value)
    assert "REGENTE_COLLECTOR_PORT" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)


def test_a_port_asked_for_twice_names_both_settings(
    home: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env["REGENTE_DELIVERY_PORT"] = env["REGENTE_EXECUTOR_PORT"]
    settings = settings_with(home, env, monkeypatch)
    with pytest.raises(StackError, match=r"REGENTE_EXECUTOR_PORT.*REGENTE_DELIVERY_PORT"):
        check_ports(settings, {})


@pytest.mark.parametrize("wrong", ["http", "0", "70000", "-1"])
def test_a_setting_that_is_no_port_is_named(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENTE_BROKER_PORT", wrong)
    with pytest.raises(StackError, match="REGENTE_BROKER_PORT"):
        read_settings()


def test_the_command_refuses_before_it_starts_anything(home: Path, env: dict[str, str], taken: int) -> None:
    command = [sys.executable, "-m", "deploy.local", "up"]
    wanted = {**env, PORTS["database"][0]: str(taken)}
    done = subprocess.run(command, env=wanted, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"port {taken} (database) is taken" in done.stdout + done.stderr
    assert not (home / "data").exists()
