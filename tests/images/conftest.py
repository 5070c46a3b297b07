"""Programs that check, fetched by `make parts`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local import parts
from deploy.local.settings import read_settings
from tests.images.helm import Helm


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    """Helm against a recorder."""
    made = Helm(parts.helm(read_settings().home), tmp_path_factory.mktemp("helm"))
    yield made
    made.close()
