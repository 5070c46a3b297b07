"""Settings of `python -m demo.run`: where everything is, and how long it waits.

Called by: demo.run, demo.processes. Survives a crash: nothing to survive. Change also: demo/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROBOTS = {"02005e000001": "robot-1", "02005e000002": "robot-2"}
"""The demo's robots: id (a locally administered MAC address in hex) and name."""


class DemoSettings(BaseSettings):
    """Environment variables REGENTE_*."""

    model_config = SettingsConfigDict(env_prefix="REGENTE_", extra="ignore")

    home: Path = Field(default=Path(".regente"), description="REGENTE_HOME: the installation's data folder.")
    portal_host: str = Field(default="127.0.0.1", description="REGENTE_PORTAL_HOST")
    portal_port: int = Field(default=8443, ge=1, le=65535, description="REGENTE_PORTAL_PORT")
    demo_start_s: float = Field(default=90, gt=0, description="REGENTE_DEMO_START_S: until everything answers.")
    demo_work_s: float = Field(default=240, gt=0, description="REGENTE_DEMO_WORK_S: until everything is delivered.")

    @property
    def portal_origin(self) -> str:
        """The portal's origin, as its client certificates are bound to it."""
        return f"https://{self.portal_host}:{self.portal_port}"

    @property
    def pki_folder(self) -> Path:
        """Where the portal keeps its certificates."""
        return self.home / "demo" / "pki"


class Admin(BaseModel):
    """admin.json: how the demo logs in, and the key that it hands to its partner."""

    model_config = ConfigDict(extra="ignore")

    url: str = Field(description="The console's address.")
    user: str = Field(description="A user with the role admin.")
    password: str = Field(description="That user's password.")
    account: str = Field(description="The demo's account.")
    collector_url: str = Field(description="The collector's address: tasks are pushed there.")
    key: str = Field(description="The partner's key, with the scopes tasks and results.")


def read_admin(settings: DemoSettings) -> Admin:
    """Read admin.json. Raises: FileNotFoundError, ValueError when it isn't what it should be."""
    return Admin.model_validate(json.loads((settings.home / "admin.json").read_bytes()))
