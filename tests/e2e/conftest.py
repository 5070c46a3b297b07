"""One running system for all end-to-end tests: starting it takes longer than most of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.settings import read_settings
from tests.e2e.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Servers, services (two executors), portal, partner and two robots."""
    home = Path(tempfile.mkdtemp(prefix="regente-e2e-"))
    with running_stack(home, read_settings().home) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)
