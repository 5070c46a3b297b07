"""Settings and identity: what is wrong is named, what is made once stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regente_agent import identity
from regente_agent.settings import BadSetting, Settings, load


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGENTE_SERVER_URL", "ftp://server"),
        ("REGENTE_AGENT_ADDRESS", "00:15:5d"),
        ("REGENTE_AGENT_HEADLESS", "perhaps"),
        ("REGENTE_AGENT_CA_FILE", "/no/such/file"),
        ("REGENTE_AGENT_LOG_LEVEL", "loud"),
        ("REGENTE_AGENT_PROGRAMS", "{"),
        ("REGENTE_AGENT_PROGRAMS", '{"sh": "/bin/sh"}'),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        load({"REGENTE_AGENT_HOME": str(tmp_path), name: value})


def test_the_file_counts_where_the_environment_is_silent(tmp_path: Path) -> None:
    (tmp_path / "agent.ini").write_text(
        "[agent]\nserver_url = http://file:1\naddress = 00-15-5D-01-02-0A\nheadless = no\n"
        '[programs]\nReport = /opt/report --mode "two words"\n'
    )
    found = load({"REGENTE_AGENT_HOME": str(tmp_path), "REGENTE_SERVER_URL": "http://environment:2/"})
    assert (found.server_url, found.address, found.headless) == ("http://environment:2", "00155d01020a", False)
    assert found.programs == {"Report": ["/opt/report", "--mode", "two words"]}
    assert Settings.from_json(json.loads(json.dumps(found.to_json()))) == found
    (tmp_path / "agent.ini").write_text("no section")
    with pytest.raises(BadSetting, match=r"agent\.ini"):
        load({"REGENTE_AGENT_HOME": str(tmp_path)})


def test_the_key_is_made_once_and_never_replaced_unseen(tmp_path: Path) -> None:
    first = identity.load(tmp_path, "00155d01020a", None)
    assert identity.load(tmp_path, "00155d01020a", "robot").key == first.key
    assert first.addresses[0] == first.worker == "00155d01020a"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ValueError, match="remove it to enrol as a new robot"):
        identity.load(tmp_path, None, None)
