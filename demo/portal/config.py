"""Settings of the portal process, read once from the environment.

Called by: demo.portal.__main__ and tests. Survives a crash: nothing to survive. Change also: demo/README.md.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PortalSettings(BaseSettings):
    """Where the portal listens and keeps its files."""

    model_config = SettingsConfigDict(env_prefix="REGENTE_", extra="ignore")

    home: Path = Field(default=Path(".regente"), description="REGENTE_HOME: the installation's data folder.")
    portal_host: str = Field(default="127.0.0.1", description="REGENTE_PORTAL_HOST: the address to listen on.")
    portal_port: int = Field(default=8443, ge=1, le=65535, description="REGENTE_PORTAL_PORT: the port to listen on.")

    @property
    def folder(self) -> Path:
        """The demo's own folder under the data folder."""
        return self.home / "demo"

    @property
    def pki_folder(self) -> Path:
        """Where the portal's CA, its server certificate and its clients' certificates lie."""
        return self.folder / "pki"

    @property
    def database(self) -> Path:
        """The portal's SQLite file."""
        return self.folder / "portal.sqlite3"
