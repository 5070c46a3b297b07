"""`regente endpoint` and `regente delivery` against a real console and a real delivery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.collector.running import Instance, running, until
from tests.integration.console.site import ACME, Site
from tests.integration.delivery.conftest import ENV, Answer, PartnerSide


@pytest.fixture(scope="module")
def delivery(console: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Delivery on the same data."""
    with running("delivery", console.ground, tmp_path_factory.mktemp("delivery"), **ENV) as instance:
        yield instance


@pytest.fixture(scope="module")
def partner() -> Iterator[PartnerSide]:
    """The partner's side."""
    side = PartnerSide()
    yield side
    side.close()


def test_an_endpoint_is_made_tried_rotated_and_removed(
    regente: Any, console: Site, delivery: Instance, partner: PartnerSide
) -> None:
    url = f"{partner.url}/cli"
    made = regente("endpoint", "put", "cli-hook", "--url", url, "--signature", "v1", "--signature", "v1a").stdout
    secret, public = made.split()
    assert (secret[:6], public[:5]) == ("whsec_", "whpk_")
    assert "delivered: 200" in regente("endpoint", "test", "cli-hook").stdout
    (got,) = partner.got("/cli")
    assert got.verify(secret)["type"] == "endpoint.test"
    partner.will("/cli", Answer(503, body=b"not now"))
    assert "503" in regente("endpoint", "test", "cli-hook", code=1).stderr
    shown = regente("endpoint", "show", "cli-hook").stdout
    assert url in shown
    assert public in shown
    assert secret not in shown
    assert "cli-hook" in regente("endpoint", "list").stdout
    newer = regente("endpoint", "rotate", "cli-hook", "--overlap", "3600").stdout.split()[0]
    assert newer != secret
    regente("endpoint", "test", "cli-hook")
    last = partner.got("/cli")[-1]
    assert last.verify(newer) == last.verify(secret)
    assert regente("endpoint", "remove", "cli-hook").stdout == "removed\n"
    assert "does not exist" in regente("endpoint", "test", "cli-hook", code=1).stderr
    assert "does not exist" in regente("endpoint", "rotate", "cli-hook", code=1).stderr


def test_settings_come_from_options_or_a_file_and_wrong_ones_are_said(
    regente: Any, console: Site, tmp_path: Path
) -> None:
    file = tmp_path / "endpoint.json"
    file.write_text(json.dumps({"url": "https://a.example/x", "events": ["decision"], "evidence": "inline"}))
    regente("endpoint", "put", "cli-file", "--file", str(file), "--schedule", "1,60", "--concurrency", "2")
    shown = json.loads(regente("endpoint", "show", "cli-file", "--json").stdout)
    assert (shown["events"], shown["schedule_s"], shown["concurrency"]) == (["decision"], [1.0, 60.0], 2)
    assert (shown["account"], shown["evidence"], shown["enabled"]) == (ACME, "inline", True)
    assert "private" in regente("endpoint", "put", "cli-file", "--url", "https://10.0.0.1/", code=1).stderr
    regente("endpoint", "put", "cli-file", "--url", "https://a.example/", "--schedule", "soon", code=2)
    regente("endpoint", "put", "cli-file", "--file", str(tmp_path / "none.json"), code=2)
    regente("endpoint", "remove", "cli-file")


def test_deliveries_are_shown_with_their_attempts_and_sent_again(
    regente: Any, console: Site, delivery: Instance, partner: PartnerSide
) -> None:
    regente("endpoint", "put", "cli-again", "--url", f"{partner.url}/again")
    partner.will("/again", Answer(500, body=b"broken here"))
    regente("endpoint", "test", "cli-again", code=1)
    (dead,) = json.loads(regente("delivery", "list", "--endpoint", "cli-again", "--state", "dead", "--json").stdout)
    shown = regente("delivery", "show", dead["id"]).stdout
    assert "broken here" in shown
    assert "endpoint.test" in regente("delivery", "show", dead["id"], "--body").stdout
    assert json.loads(regente("delivery", "show", dead["id"], "--json").stdout)["attempts_made"] == 1
    assert "1 dead" in regente("delivery", "replay", "--dead", "--endpoint", "cli-again", "--event", "test").stdout
    until(lambda: len(partner.got("/again")) == 2, "it is sent again")
    regente("delivery", "replay", "--dead", code=2)
    regente("delivery", "show", "none", code=1)
