"""Settings of services that send mail, for all of them the same.

Called by: config.py of the services that send mail. Survives a crash: nothing.
"""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.domain.letter import checked_address
from shared.domain.mail_server import MailServer
from shared.runtime.settings import ServiceSettings


class MailSettings(ServiceSettings):
    """Where mail goes and whom it is from; and whose certificates are believed, here and in calls out."""

    smtp_url: SecretStr = Field(
        default=SecretStr(""), description="smtp://user:password@host:587 or smtps://..., perhaps with ?starttls=no."
    )
    mail_from: str = Field(
        default="", validate_default=True, description="Address that mail is sent from; needed with a mail server."
    )

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            MailServer.of(value.get_secret_value())
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str, info: ValidationInfo) -> str:
        url: SecretStr | None = info.data.get("smtp_url")
        if value or (url is not None and url.get_secret_value()):
            checked_address(value)
        return value
