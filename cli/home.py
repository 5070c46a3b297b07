"""Where the installation is and who asks: admin.json under REGENTE_HOME, or the environment.

Called by: client.py, commands.status, commands.doctor. REGENTE_URL, REGENTE_TOKEN and REGENTE_KEY go before the file,
one by one. Without REGENTE_HOME the folder .regente is looked for here and in every folder above, as git does.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cli.errors import Usage

ADMIN_FILE = "admin.json"
PROCESSES_FILE = Path("run") / "processes.json"
FOLDER = ".regente"
_FIELDS = ("url", "user", "password", "account", "partner", "key", "collector_url", "delivery_url")


@dataclass(frozen=True)
class Access:
    """What is known of the installation; every field may be missing."""

    url: str | None = None
    """The console."""
    user: str | None = None
    password: str | None = None
    token: str | None = None
    """A session's token; user and password are not needed then."""
    account: str | None = None
    partner: str | None = None
    key: str | None = None
    """A partner's key, for the collector and delivery."""
    collector_url: str | None = None
    delivery_url: str | None = None


def set_home(path: str) -> None:
    """Use this folder instead of REGENTE_HOME for the rest of the process."""
    os.environ["REGENTE_HOME"] = path


def find_home() -> Path | None:
    """The installation's folder, or none when there is none."""
    named = os.environ.get("REGENTE_HOME")
    if named:
        return Path(named).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    return None


def read_access() -> Access:
    """What the environment and admin.json say.

    Raises: Usage when admin.json is there but can't be read.
    """
    home = find_home()
    known = _read_file(home / ADMIN_FILE) if home else {}
    environment = {
        "url": os.environ.get("REGENTE_URL"),
        "token": os.environ.get("REGENTE_TOKEN"),
        "key": os.environ.get("REGENTE_KEY"),
        "collector_url": os.environ.get("REGENTE_COLLECTOR_URL"),
        "delivery_url": os.environ.get("REGENTE_DELIVERY_URL"),
        "account": os.environ.get("REGENTE_ACCOUNT"),
    }
    return Access(**{**known, **{name: value for name, value in environment.items() if value}})


def _read_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise Usage(f"{path} can't be read by this user") from error
    except (OSError, ValueError) as error:
        raise Usage(f"{path} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise Usage(f"{path} is no JSON object")
    return {name: str(content[name]) for name in _FIELDS if content.get(name)}
