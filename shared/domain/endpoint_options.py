"""Options of endpoints that get results as files: by mail, by SFTP, in a folder.

Called by: delivery (options of an endpoint, attempts, whether results are collected), console (operators make
endpoints, too). Pure. They stand in `endpoints.options`. Change also: docs/results.md, ARCHITECTURE.md (endpoints).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.domain.letter import RECIPIENTS_MAX, checked_recipients, checked_subject

MAIL, SFTP, FOLDER = "mail", "sftp", "folder"
ITEMS_MAX = 1000
"""Results in one file."""
PATH_LENGTH_MAX = 500
_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$")
_USER = re.compile(r"^[!-~]{1,100}$")
Format = Literal["json", "ndjson", "csv", "xlsx"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Collect(_Model):
    """Results are collected into one file per period."""

    every_s: int = Field(ge=60, le=7 * 86400, description="A file covers so many seconds, counted from midnight UTC.")
    items_max: int = Field(default=ITEMS_MAX, ge=1, le=ITEMS_MAX, description="With so many it is sent at once.")


class FileSettings(_Model):
    """What the files hold."""

    format: Format = Field(default="json", description="Of the files.")
    collect: Collect | None = Field(default=None, description="None: one file per result, at once.")
    evidence: Literal["links", "files"] = Field(
        default="links", description="links: addresses in the result; files: also the pictures and files themselves."
    )

    @model_validator(mode="after")
    def _one_result_or_many(self) -> FileSettings:
        if self.collect is not None and self.format == "json":
            raise ValueError("collected results are ndjson, csv or xlsx")
        return self


class MailSettings(FileSettings):
    """Results by mail."""

    to: list[str] = Field(min_length=1, max_length=RECIPIENTS_MAX, description="name@domain, each.")
    language: Literal["en", "pt_BR"] = Field(default="en", description="Of subject and text.")
    subject: str | None = Field(
        default=None, max_length=200, description="Instead of ours; {reference}, {workflow}, {event}, {count} stand."
    )

    @field_validator("to")
    @classmethod
    def _recipients(cls, value: list[str]) -> list[str]:
        return checked_recipients(value)

    @field_validator("subject")
    @classmethod
    def _subject(cls, value: str | None) -> str | None:
        return value if value is None else checked_subject(value)


class SftpSettings(FileSettings):
    """Results as files on a partner's SFTP server."""

    host: str = Field(max_length=253, description="Name or address of the server.")
    port: int = Field(default=22, ge=1, le=65535, description="Its port.")
    user: str = Field(description="Who logs in.")
    document: str = Field(
        max_length=200,
        pattern=r"^sftp/[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="The account's document sftp/...: password or private key. No other document goes to a server.",
    )
    host_key: str = Field(min_length=1, max_length=8000, description="The server's public keys, one a line.")
    folder: str = Field(default=".", max_length=PATH_LENGTH_MAX, description="Where files go; it must exist.")

    @field_validator("host")
    @classmethod
    def _a_host(cls, value: str) -> str:
        if not _HOST.match(value):
            raise ValueError("a name such as sftp.acme.example, or an address")
        return value

    @field_validator("user")
    @classmethod
    def _a_user(cls, value: str) -> str:
        if not _USER.match(value):
            raise ValueError("printable ASCII without spaces")
        return value

    @field_validator("folder")
    @classmethod
    def _a_path(cls, value: str) -> str:
        if not value or any(ord(char) < 32 for char in value):
            raise ValueError("a path without control characters")
        return value.rstrip("/") or "/"


class FolderSettings(FileSettings):
    """Results as files below the folder that the administrator allows."""

    path: str = Field(default=".", max_length=PATH_LENGTH_MAX, description="Below the account's own folder.")

    @field_validator("path")
    @classmethod
    def _below(cls, value: str) -> str:
        parts = value.split("/")
        if value.startswith("/") or "\\" in value or ".." in parts or any(ord(char) < 32 for char in value):
            raise ValueError("a path below the account's folder, such as results/tax, without ..")
        return "/".join(part for part in parts if part not in ("", ".")) or "."


MODELS: dict[str, type[FileSettings]] = {MAIL: MailSettings, SFTP: SftpSettings, FOLDER: FolderSettings}


def settings_of(endpoint: Mapping[str, Any]) -> FileSettings:
    """The settings of an endpoint of one of these kinds.

    Raises: ValueError.
    """
    return MODELS[str(endpoint["kind"])].model_validate(endpoint.get("options") or {})


def complaints(kind: str, settings: Any) -> list[dict[str, str]]:
    """What is wrong with settings, as [{path, message}]; values are not repeated."""
    try:
        MODELS[kind].model_validate(settings or {})
    except ValidationError as error:
        return [
            {
                "path": "/".join(["/options", *(str(part) for part in one["loc"])]),
                "message": one["msg"].removeprefix("Value error, "),
            }
            for one in error.errors(include_url=False, include_input=False)
        ]
    return []


def collect_of(endpoint: Mapping[str, Any] | None) -> Collect | None:
    """How an endpoint collects results, or none: each goes by itself. Settings that are broken collect nothing."""
    if endpoint is None or endpoint.get("kind") not in MODELS:
        return None
    try:
        return settings_of(endpoint).collect
    except ValueError:
        return None
