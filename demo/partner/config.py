"""The partner's settings from the environment, and its credentials file.

Owns: REGENTE_HOME/demo/partner.json (mode 0600): the webhook secret that the partner chose, and, once an operator has
handed them out, the collector's address and the partner's key. Called by: demo.partner.*, demo.run. Survives a crash:
the file is written beside and moved into place. Change also: demo/README.md.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET_BYTES = 32


class PartnerSettings(BaseSettings):
    """Where the partner listens and keeps its files."""

    model_config = SettingsConfigDict(env_prefix="REGENTE_", extra="ignore")

    home: Path = Field(default=Path(".regente"), description="REGENTE_HOME: the installation's data folder.")
    partner_host: str = Field(default="127.0.0.1", description="REGENTE_PARTNER_HOST: the address to listen on.")
    partner_port: int = Field(default=8090, ge=1, le=65535, description="REGENTE_PARTNER_PORT: the port to listen on.")

    @property
    def database(self) -> Path:
        """The partner's SQLite file."""
        return self.home / "demo" / "partner.sqlite3"

    @property
    def credentials_file(self) -> Path:
        """The partner's credentials."""
        return self.home / "demo" / "partner.json"

    @property
    def webhook_url(self) -> str:
        """Where deliveries are to be sent."""
        return f"http://{self.partner_host}:{self.partner_port}/webhooks"


class Credentials(BaseModel):
    """What the partner needs to verify deliveries and to hand tasks in."""

    model_config = ConfigDict(extra="ignore")

    url: str = Field(description="Where the partner takes deliveries.")
    secret: str = Field(description="The endpoint's signing secret, whsec_ and base64.")
    collector_url: str | None = Field(default=None, description="Where tasks are pushed; left out until handed out.")
    key: str | None = Field(default=None, description="The partner's key for the collector; left out until handed out.")


def ensure_credentials(settings: PartnerSettings) -> Credentials:
    """Read the credentials; at the first start choose a secret and write them."""
    path = settings.credentials_file
    if path.exists():
        found = Credentials.model_validate_json(path.read_bytes())
        if found.url == settings.webhook_url:
            return found
        moved = found.model_copy(update={"url": settings.webhook_url})
        write_credentials(settings, moved)
        return moved
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    made = Credentials(url=settings.webhook_url, secret=secret)
    write_credentials(settings, made)
    return made


def write_credentials(settings: PartnerSettings, credentials: Credentials) -> None:
    """Write the credentials file, readable by its owner only."""
    path = settings.credentials_file
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(credentials.model_dump(exclude_none=True), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
