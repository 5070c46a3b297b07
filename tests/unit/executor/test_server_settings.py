"""The settings of the server's instructions: what is wrong is said at the start, and never with a password."""

from __future__ import annotations

import base64

import pytest

from services.executor.config import ExecutorSettings
from shared.runtime.settings import SettingsUnusable, read

NEEDED = {
    "AMQP_URL": "amqp://u:p@127.0.0.1:5672/",
    "MONGO_URL": "mongodb://127.0.0.1/",
    "MASTER_KEY": base64.b64encode(bytes(32)).decode(),
}


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> ExecutorSettings:
    for name, value in {**NEEDED, **given}.items():
        monkeypatch.setenv(f"REGENTE_{name}", value)
    return read(ExecutorSettings, "executor")


def test_nothing_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch)
    assert (found.http_private_allowed, found.smtp_url.get_secret_value(), found.job_user) == ("", "", "")


def test_a_mail_server_needs_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "smtp://ann:hunter2@mail.example"
    assert settings(monkeypatch, SMTP_URL=url, MAIL_FROM="robots@acme.example").mail_from == "robots@acme.example"
    with pytest.raises(SettingsUnusable, match="REGENTE_MAIL_FROM"):
        settings(monkeypatch, SMTP_URL=url, MAIL_FROM="")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PRIVATE_ALLOWED", "10.0.0.0/33"),
        ("HTTP_PRIVATE_ALLOWED", "10.0.0.1/8"),
        ("HTTP_PRIVATE_ALLOWED", "intranet"),
        ("SMTP_URL", "mail.example:hunter2"),
        ("SMTP_URL", "smtp://ann:hunter2@mail.example?starttls=perhaps"),
        ("SMTP_URL", "smtp://ann:hunter2@mail.example:port"),
        ("MAIL_FROM", "Robots <robots@acme.example>"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsUnusable, match=f"REGENTE_{name}") as raised:
        settings(monkeypatch, **{name: value})
    assert "hunter2" not in str(raised.value)
