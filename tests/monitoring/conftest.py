"""Prometheus' own checks, for tests of metrics, rules and dashboards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from deploy.local import parts
from deploy.local.settings import read_settings

Promtool = Callable[..., str]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Call promtool; what it said, and an AssertionError when it objects."""
    program = parts.prometheus(read_settings().home) / "promtool"

    def call(*arguments: str, given: bytes | None = None) -> str:
        done = subprocess.run([str(program), *arguments], input=given, capture_output=True, timeout=120, check=False)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 0, said
        return said

    return call
