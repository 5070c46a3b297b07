"""What this robot's machine says about itself: the environment first, then `agent.ini` in the agent's folder.

Called by: __main__ once at start; the driver process gets the result in its first frame. Survives a crash: the file is
the user's. Change also: the table of settings in agent/README.md.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

LEVELS = ("debug", "info", "warning", "error")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("", "0", "false", "no", "off")


class BadSetting(Exception):
    """A setting that can't be used; the text names it and says what would do."""


@dataclass(frozen=True)
class Settings:
    """All settings of one agent; read once, never changed."""

    home: Path
    """REGENTE_AGENT_HOME: key, journal, logs and the runs' folders."""
    server_url: str
    """REGENTE_SERVER_URL: where to enrol (the scheduler's HTTP address)."""
    address: Optional[str] = None
    """REGENTE_AGENT_ADDRESS: stands for the primary MAC address."""
    name: Optional[str] = None
    """REGENTE_AGENT_NAME: what people see; the host's name unless given."""
    browser: Optional[str] = None
    """REGENTE_AGENT_BROWSER: path of the browser's program; looked for unless given."""
    headless: bool = True
    """REGENTE_AGENT_HEADLESS: 0 shows the browser's window."""
    ignore_https_errors: bool = False
    """REGENTE_AGENT_IGNORE_HTTPS_ERRORS: 1 trusts every server; for test benches only."""
    ca_file: Optional[str] = None
    """REGENTE_AGENT_CA_FILE: PEM file of authorities that the browser and the agent itself (server, broker) trust
    besides the usual ones."""
    driver_python: str = sys.executable
    """REGENTE_AGENT_DRIVER_PYTHON: the interpreter of the driver process, where it differs from the supervisor's."""
    log_level: str = "info"
    """REGENTE_AGENT_LOG_LEVEL: lines below it are neither shown nor sent."""
    programs: Dict[str, List[str]] = field(default_factory=dict)
    """REGENTE_AGENT_PROGRAMS (JSON) or section [programs]: what process.run may start, as name -> command."""

    def to_json(self) -> Dict[str, Any]:
        """The settings as the driver process gets them."""
        return dict(asdict(self), home=str(self.home))

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Settings":
        """The settings as the driver process reads them."""
        return Settings(**dict(values, home=Path(values["home"])))


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises: BadSetting with one line that names the wrong setting.
    """
    home = Path(environment.get("REGENTE_AGENT_HOME") or Path.home() / ".regente-agent").absolute()
    file = _read_file(home / "agent.ini")

    def pick(name: str, variable: Optional[str] = None) -> str:
        return environment.get(variable or "REGENTE_AGENT_" + name.upper()) or file.get("agent", {}).get(name, "")

    server_url = pick("server_url", "REGENTE_SERVER_URL") or "http://127.0.0.1:8002"
    if not server_url.startswith(("http://", "https://")):
        raise BadSetting(f"REGENTE_SERVER_URL must begin with http:// or https://, not {server_url!r}")
    level = pick("log_level") or "info"
    if level not in LEVELS:
        raise BadSetting(f"REGENTE_AGENT_LOG_LEVEL must be one of {', '.join(LEVELS)}, not {level!r}")
    ca_file = pick("ca_file") or None
    if ca_file and not os.path.isfile(ca_file):
        raise BadSetting(f"REGENTE_AGENT_CA_FILE names {ca_file}, which is no file")
    return Settings(
        home=home,
        server_url=server_url.rstrip("/"),
        address=_address(pick("address")),
        name=pick("name")[:100] or None,
        browser=pick("browser") or None,
        headless=_flag("REGENTE_AGENT_HEADLESS", pick("headless") or "1"),
        ignore_https_errors=_flag("REGENTE_AGENT_IGNORE_HTTPS_ERRORS", pick("ignore_https_errors")),
        ca_file=ca_file,
        driver_python=pick("driver_python") or sys.executable,
        log_level=level,
        programs=_programs(environment.get("REGENTE_AGENT_PROGRAMS", ""), file.get("programs", {})),
    )


def _read_file(path: Path) -> Dict[str, Dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # programs' names keep their case
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} can't be read: {error}") from error
    return {section: dict(parser[section]) for section in parser.sections()}


def _address(value: str) -> Optional[str]:
    plain = value.replace(":", "").replace("-", "").lower()
    if plain and (len(plain) != 12 or any(c not in "0123456789abcdef" for c in plain)):
        raise BadSetting(f"REGENTE_AGENT_ADDRESS must be a MAC address of 12 hex digits, not {value!r}")
    return plain or None


def _flag(name: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise BadSetting(f"{name} must be 0 or 1, not {value!r}")


def _programs(text: str, section: Mapping[str, str]) -> Dict[str, List[str]]:
    """The allow-list: in the environment it is JSON, in the file each line is a command as a shell would split it."""
    if not text:
        return {name: shlex.split(command, posix=os.name == "posix") for name, command in section.items()}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadSetting(f"REGENTE_AGENT_PROGRAMS is no JSON: {error}") from error
    if not isinstance(found, dict) or not all(_command(command) for command in found.values()):
        raise BadSetting('REGENTE_AGENT_PROGRAMS must look like {"name": ["/path/of/program", "argument"]}')
    return dict(found)


def _command(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)
