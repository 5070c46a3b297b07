"""Settings: read once, refused with one clear line each."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.runtime.settings import ServiceSettings, SettingsUnusable, read

KEY = base64.b64encode(bytes(32)).decode()
GOOD = {
    "REGENTE_AMQP_URL": "amqp://u:p%40ss@one:5000/v%2Fhost, amqp://u:p@two/v",
    "REGENTE_MONGO_URL": "mongodb://h/?replicaSet=rs",
    "REGENTE_MASTER_KEY": KEY,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("REGENTE_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_defaults_and_what_follows_from_others() -> None:
    settings = read(ServiceSettings, "collector")
    assert settings.instance == "collector-1"
    assert settings.amqp_urls == ["amqp://u:p%40ss@one:5000/v%2Fhost", "amqp://u:p@two/v"]
    assert settings.vhost == "v/host"
    assert settings.amqp_admin_url == "http://u:p%40ss@one:15672,http://u:p@two:15672"
    assert settings.master_key_bytes == bytes(32)
    assert KEY not in repr(settings)
    with pytest.raises(ValidationError):
        settings.mongo_db = "other"


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REGENTE_MASTER_KEY")
    path = tmp_path / "key"
    path.write_text(base64.urlsafe_b64encode(b"\xff" * 32).decode() + "\n")
    monkeypatch.setenv("REGENTE_MASTER_KEY_FILE", str(path))
    assert read(ServiceSettings, "x").master_key_bytes == b"\xff" * 32
    monkeypatch.setenv("REGENTE_MASTER_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsUnusable, match=r"REGENTE_MASTER_KEY_FILE: .* can't be read"):
        read(ServiceSettings, "x")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("REGENTE_AMQP_URL", "", "it must look like amqp://"),
        ("REGENTE_AMQP_URL", "http://x", "it must look like amqp://"),
        ("REGENTE_AMQP_URL", "amqp://h:port", "Port could not be cast"),
        ("REGENTE_MONGO_URL", "mysql://x", "it must begin with mongodb://"),
        ("REGENTE_MONGO_DB", "a b", "pattern"),
        ("REGENTE_MASTER_KEY", "secret!", "it is no base64"),
        ("REGENTE_MASTER_KEY", "c2hvcnQ=", "it holds 5 bytes instead of 32"),
        ("REGENTE_HTTP_PORT", "eighty", "valid integer"),
        ("REGENTE_HTTP_PORT", "70000", "less than or equal to 65535"),
        ("REGENTE_INSTANCE", "a.b", "letters, digits"),
        ("REGENTE_LOG_LEVEL", "loud", "one of DEBUG"),
        ("REGENTE_COLLECTOR_URL", "here", "it must look like http://"),
    ],
)
def test_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsUnusable) as caught:
        read(ServiceSettings, "x")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert says in line
    assert "secret" not in line


def test_process_ends_with_code_2_and_without_a_traceback() -> None:
    program = "from shared.runtime.settings import *; load(ServiceSettings, 'collector')"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), "REGENTE_HTTP_PORT": "x"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    lines = ended.stderr.splitlines()
    assert {line.split(":")[1].strip() for line in lines} == {
        "REGENTE_AMQP_URL",
        "REGENTE_MONGO_URL",
        "REGENTE_MASTER_KEY",
        "REGENTE_HTTP_PORT",
    }


def test_where_traces_go_and_what_is_sent_along(monkeypatch: pytest.MonkeyPatch) -> None:
    off = read(ServiceSettings, "collector")
    assert (off.otlp_url, off.otlp_header_values, off.trace_share) == ("", {}, 1.0)
    monkeypatch.setenv("REGENTE_OTLP_URL", "http://collector:4318")
    monkeypatch.setenv("REGENTE_OTLP_HEADERS", "authorization=Bearer a=b, x-scope = acme")
    settings = read(ServiceSettings, "collector")
    assert settings.otlp_header_values == {"authorization": "Bearer a=b", "x-scope": "acme"}
    assert "Bearer" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTLP_URL", "collector:4318"),
        ("OTLP_HEADERS", "Bearer planted"),
        ("TRACE_SHARE", "1.5"),
        ("WATCHDOG_S", "-1"),
        ("CANARY_S", "soon"),
    ],
)
def test_wrong_ones_are_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"REGENTE_{name}", value)
    with pytest.raises(SettingsUnusable, match=f"REGENTE_{name}") as caught:
        read(ServiceSettings, "collector")
    assert "planted" not in str(caught.value)
