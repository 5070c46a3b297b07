"""Settings of messages to people. Called by: services/alerts/config.py. Change also: docs/notifications.md."""

from __future__ import annotations

import json
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.domain.endpoint import secret_problem
from shared.domain.letter import checked_address
from shared.runtime.mail_settings import MailSettings
from shared.runtime.settings import Networks


class NotifySettings(MailSettings):
    """Read once from REGENTE_*."""

    alerts_mail_to: str = Field(
        default="", description="Address that is told when nobody else is, and when there is no database."
    )
    alerts_webhook_url: str = Field(default="", description="Webhook that is told as alerts_mail_to is.")
    alerts_webhook_secret: SecretStr = Field(
        default=SecretStr(""), validate_default=True, description="Its `whsec_` secret; needed with alerts_webhook_url."
    )
    alerts_slack_url: SecretStr = Field(
        default=SecretStr(""), description="Slack-style webhook that is told as alerts_mail_to is."
    )
    alerts_language: Literal["en", "pt_BR"] = Field(default="en", description="Of what these three are told.")
    alerts_sms_url: SecretStr = Field(
        default=SecretStr(""), description="Gateway that short messages are posted to; empty: none are sent."
    )
    alerts_sms_body: str = Field(
        default='{"to": "{to}", "text": "{text}"}',
        description="What is posted there: JSON or a form, with {to} and {text}.",
    )
    alerts_sms_authorization: SecretStr = Field(
        default=SecretStr(""), description="Header Authorization of that request."
    )
    alerts_private_allowed: Networks = Field(
        default="", description="Networks besides public ones that messages may reach: 10.1.0.0/16, fd00::/8."
    )
    alerts_public_url: str = Field(
        default="",
        description="Where people's browsers reach alerts, for the lists behind messages; empty: alerts_url.",
    )
    alerts_runbook_url: str = Field(
        default="", description="Where runbooks are; {kind} becomes the alert's kind. Empty: the console's pages."
    )
    alerts_notify_s: float = Field(
        default=1.0, gt=0, le=60, description="How often what is to be told, closed or sent is looked for."
    )
    alerts_send_timeout_s: float = Field(default=15.0, gt=0, le=120, description="One attempt to send a message.")
    alerts_retry_s: float = Field(
        default=5.0, gt=0, le=3600, description="Before a message is sent again; tripled each time, at most 15 minutes."
    )
    alerts_give_up_s: float = Field(
        default=259_200.0, gt=0, le=30 * 86400, description="A message that nobody took for so long is given up."
    )
    alerts_beat_url: SecretStr = Field(
        default=SecretStr(""), description="Outside address that is posted to while people would be told of alerts."
    )
    alerts_beat_fail_url: SecretStr = Field(
        default=SecretStr(""), description="Outside address that is posted to, with the reason, while they would not."
    )
    alerts_beat_interval_s: float = Field(default=60.0, gt=0, le=86400, description="How often it is posted to.")

    @field_validator("alerts_mail_to")
    @classmethod
    def _address(cls, value: str, info: ValidationInfo) -> str:
        url: SecretStr | None = info.data.get("smtp_url")
        if value and url is not None and not url.get_secret_value():
            raise ValueError("mail needs a mail server: set REGENTE_SMTP_URL")
        return checked_address(value) if value else value

    @field_validator("alerts_webhook_url", "alerts_public_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        return _url(value).rstrip("/") if value else value

    @field_validator("alerts_slack_url", "alerts_sms_url", "alerts_beat_url", "alerts_beat_fail_url")
    @classmethod
    def _secret_url(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            _url(value.get_secret_value())
        return value

    @field_validator("alerts_webhook_secret")
    @classmethod
    def _secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        needed = value.get_secret_value() or info.data.get("alerts_webhook_url")
        problem = secret_problem(value.get_secret_value()) if needed else None
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("alerts_sms_body")
    @classmethod
    def _body(cls, value: str) -> str:
        if "{to}" not in value or "{text}" not in value:
            raise ValueError("it needs {to} and {text}")
        if value.lstrip().startswith("{") and not value.lstrip().startswith(("{to}", "{text}")):
            json.loads(value)
        return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must look like https://host/path")
    return value
