"""One console for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.console.site import Site, site


@pytest.fixture(scope="session")
def console(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console with accounts and users."""
    with site(servers, tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest.fixture
def admin(console: Site) -> Iterator[httpx.Client]:
    """The API as the admin of everything."""
    with console.client() as client:
        yield client
