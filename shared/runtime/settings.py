"""Settings that every service has, read once from the environment and refused with one clear line each.

Called by: services/<name>/config.py (subclasses), shared.runtime.service (`load`), cli. Survives a crash: nothing; a
change needs a restart. Change also: README.md and deploy/, where the variables are set.

Every setting is REGENTE_<NAME>; REGENTE_<NAME>_FILE names a file that holds it instead, which is how secrets should
come.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.domain.addresses import networks
from shared.outbound.trust import tls_context
from shared.seal import MASTER_KEY_SIZE_BYTES

PREFIX = "REGENTE_"
EXIT_SETTINGS = 2
_INSTANCE = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def _networks(text: str) -> str:
    try:
        networks(text)
    except ValueError as error:
        raise ValueError(f"networks by comma, such as 10.0.0.0/8: {error}") from None
    return text


Networks = Annotated[str, AfterValidator(_networks)]
"""Networks by comma, as shared.domain.addresses.networks reads them; empty: none."""


class ServiceSettings(BaseSettings):
    """Environment variables REGENTE_*, the same for every service; subclasses add their own."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    amqp_url: str = Field(description="amqp://user:password@host:port/vhost of RabbitMQ; several with commas.")
    amqp_admin_url: str = Field(default="", description="http://user:password@host:15672 of its management API.")
    mongo_url: str = Field(description="mongodb://user:password@host:port/?replicaSet=... of MongoDB.")
    mongo_db: str = Field(default="regente", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="Name of the database.")
    master_key: SecretStr = Field(description="32 random bytes in base64: `openssl rand -base64 32`.")
    proxies: Networks = Field(
        default="", description="Networks by comma of reverse proxies whose X-Forwarded-For is believed."
    )
    http_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    http_port: int = Field(default=8080, ge=1, le=65535, description="Port to listen on.")
    http_tls_cert: str = Field(default="", description="PEM file of its certificate and chain: it speaks https then.")
    http_tls_key: str = Field(default="", description="PEM file of the certificate's key.")
    ca_file: str = Field(
        default="",
        description="PEM file of authorities besides the machine's, for broker, database, services, mail, calls out.",
    )
    instance: str = Field(default="", description="Name of this process, such as executor-1; no dots.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_keep_days: int = Field(default=14, ge=1, le=3650, description="Days that log lines stay in the database.")
    console_url: str = Field(default="http://127.0.0.1:8000", description="Where the console is.")
    collector_url: str = Field(default="http://127.0.0.1:8001", description="Where the collector is.")
    scheduler_url: str = Field(default="http://127.0.0.1:8002", description="Where the scheduler is.")
    executor_url: str = Field(default="http://127.0.0.1:8003", description="Where the executor is.")
    delivery_url: str = Field(default="http://127.0.0.1:8004", description="Where delivery is.")
    alerts_url: str = Field(default="http://127.0.0.1:8005", description="Where alerts is.")
    otlp_url: str = Field(default="", description="Where traces go: http://host:4318 of a collector; empty: nowhere.")
    otlp_headers: SecretStr = Field(default=SecretStr(""), description="name=value,... sent with traces: a token.")
    trace_share: float = Field(default=1.0, ge=0, le=1, description="Share of the traces that are recorded, 0 to 1.")
    canary_s: float = Field(
        default=0.0, ge=0, le=86_400, description="A canary goes through the whole system so often, seconds; 0: none."
    )
    watchdog_s: float = Field(
        default=120.0, ge=0, le=86_400, description="Seconds after which a loop that stands still is hung; 0: never."
    )
    home: Path = Field(default=Path(".regente"), description="Folder of the installation's own data.")

    @property
    def http_scheme(self) -> str:
        """What this service speaks."""
        return "https" if self.http_tls_cert else "http"

    @property
    def amqp_urls(self) -> list[str]:
        """The broker nodes, in the order in which they are tried."""
        return [url.strip() for url in self.amqp_url.split(",") if url.strip()]

    @property
    def vhost(self) -> str:
        """The broker's virtual host, as the first URL names it."""
        return unquote(urlsplit(self.amqp_urls[0]).path[1:]) or "/"

    @property
    def master_key_bytes(self) -> bytes:
        """The master key, decoded."""
        return base64.b64decode(self.master_key.get_secret_value().strip(), altchars=b"-_")

    def model_post_init(self, _: Any) -> None:
        """Derive the management API's address from the broker's where it isn't given."""
        if not self.amqp_admin_url:
            object.__setattr__(self, "amqp_admin_url", ",".join(_admin_url(url) for url in self.amqp_urls))

    @property
    def otlp_header_values(self) -> dict[str, str]:
        """Headers of what is sent to the collector of traces, by name."""
        return _pairs(self.otlp_headers.get_secret_value())

    @model_validator(mode="after")
    def _tls(self) -> ServiceSettings:
        if bool(self.http_tls_cert) != bool(self.http_tls_key):
            raise ValueError("set both REGENTE_HTTP_TLS_CERT and REGENTE_HTTP_TLS_KEY, or neither")
        if self.http_tls_cert:
            _loads("REGENTE_HTTP_TLS_CERT", lambda: _server_side(self.http_tls_cert, self.http_tls_key))
        if self.ca_file:
            _loads("REGENTE_CA_FILE", lambda: tls_context(self.ca_file))
        return self

    @field_validator("otlp_url")
    @classmethod
    def _otlp(cls, value: str) -> str:
        return _urls(value, ("http", "https")) if value else value

    @field_validator("otlp_headers")
    @classmethod
    def _otlp_headers(cls, value: SecretStr) -> SecretStr:
        _pairs(value.get_secret_value())
        return value

    @field_validator("amqp_url")
    @classmethod
    def _amqp(cls, value: str) -> str:
        return _urls(value, ("amqp", "amqps"))

    @field_validator("amqp_admin_url")
    @classmethod
    def _amqp_admin(cls, value: str) -> str:
        return _urls(value, ("http", "https")) if value else value

    @field_validator("mongo_url")
    @classmethod
    def _mongo(cls, value: str) -> str:
        if not value.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("it must begin with mongodb://")
        return value

    @field_validator("console_url", "collector_url", "scheduler_url", "executor_url", "delivery_url", "alerts_url")
    @classmethod
    def _http(cls, value: str) -> str:
        return _urls(value, ("http", "https")).rstrip("/")

    @field_validator("master_key")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        try:
            size = len(base64.b64decode(text, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("it is no base64; make one with `openssl rand -base64 32`") from None
        if size != MASTER_KEY_SIZE_BYTES:
            raise ValueError(f"it holds {size} bytes instead of 32; make one with `openssl rand -base64 32`")
        return value

    @field_validator("instance")
    @classmethod
    def _name(cls, value: str) -> str:
        if value and not _INSTANCE.match(value):
            raise ValueError("letters, digits, - and _ only, 64 at most")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("one of DEBUG, INFO, WARNING, ERROR")
        return value.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files that the environment names."""
        return (init_settings, env_settings, _FilesNamed(settings_cls))


class _FilesNamed(PydanticBaseSettingsSource):
    """REGENTE_X_FILE: the text of that file, without white space around it, is X."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsUnusable(f"{PREFIX}{field_name.upper()}_FILE: {path} can't be read: {error}") from error

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class SettingsUnusable(Exception):
    """Settings that are wrong or missing; one line each."""


S = TypeVar("S", bound=ServiceSettings)


def load(settings_class: type[S], service: str) -> S:
    """Read the settings of a service, or end the process with code 2 after one line per wrong setting on stderr."""
    try:
        return read(settings_class, service)
    except SettingsUnusable as error:
        for line in str(error).splitlines():
            print(f"{service}: {line}", file=sys.stderr)
        sys.exit(EXIT_SETTINGS)


def read(settings_class: type[S], service: str) -> S:
    """Read the settings of a service. Raises: SettingsUnusable, one line per wrong setting."""
    given: dict[str, Any] = {}
    if not os.environ.get(f"{PREFIX}INSTANCE"):
        given["instance"] = f"{service}-1"
    try:
        return settings_class(**given)
    except ValidationError as error:
        raise SettingsUnusable("\n".join(_lines(settings_class, error))) from None


def _lines(settings_class: type[BaseSettings], error: ValidationError) -> list[str]:
    """One line per complaint; values of settings are not repeated, because some are secrets."""
    lines = []
    for each in error.errors(include_url=False, include_input=False):
        name = str(each["loc"][0]) if each["loc"] else ""
        field = settings_class.model_fields.get(name)
        what = "is not set" if each["type"] == "missing" else each["msg"].removeprefix("Value error, ")
        hint = f" ({field.description})" if field is not None and field.description else ""
        lines.append(f"{PREFIX}{name.upper()}: {what}{hint}")
    return lines


def _server_side(certificate: str, key: str) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def _loads(setting: str, load: Callable[[], object]) -> None:
    """Raises: ValueError that names the setting and says what is wrong with its file."""
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"{setting}: the file can't be used: {reason}; make certificates with `regente certs`"
        ) from None


def _pairs(text: str) -> dict[str, str]:
    """`name=value` by commas."""
    pairs = [each.partition("=") for each in text.split(",") if each.strip()]
    if any(not sign or not name.strip() for name, sign, _ in pairs):
        raise ValueError("it must look like name=value,name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _urls(value: str, schemes: tuple[str, ...]) -> str:
    for url in filter(None, (each.strip() for each in value.split(","))):
        parts = urlsplit(url)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"it must look like {schemes[0]}://...")
        _ = parts.port  # raises when it is no number
    if not value.strip(" ,"):
        raise ValueError(f"it must look like {schemes[0]}://...")
    return value


def _admin_url(amqp_url: str) -> str:
    parts = urlsplit(amqp_url)
    user = parts.netloc.rpartition("@")[0]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{user + '@' if user else ''}{host}:15672"
