"""A portal and a partner that are up, for the tests of this folder.

Owns: the fixtures. Called by: pytest. Survives a crash: nothing. Change also: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.demo.servers import Server, make_server


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A portal that is up."""
    server = make_server("demo.portal", "https", tmp_path_factory.mktemp("portal"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A partner that is up."""
    server = make_server("demo.partner", "http", tmp_path_factory.mktemp("partner"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def acme(portal: Server) -> Iterator[httpx.Client]:
    """A browser of acme's, logged in, on a healthy portal without submissions."""
    with httpx.Client(base_url=portal.url, verify=portal.context("acme"), follow_redirects=True, timeout=20) as client:
        client.delete("/_demo/faults")
        client.post("/_demo/faults", json={"slow_page_s": 0})
        client.post("/_demo/reset")
        assert client.post("/login").url.path == "/search"
        yield client
