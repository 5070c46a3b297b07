"""Files that people write settings in: YAML or JSON, and names of the form account/name.

Called by: commands that set something from a file. YAML is read so that 10:00 and 2026-12-25 stay the texts that they
look like (YAML 1.1 makes 600 and a date of them); everything else is checked by the console, which names the field.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from cli.client import Client
from cli.errors import Usage

SIZE_BYTES_MAX = 1024 * 1024


class _Loader(yaml.SafeLoader):
    """YAML without dates, times of day and octal numbers."""


_READ_OTHERWISE = {f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "int", "float")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_OTHERWISE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBERS = {"int": r"^[-+]?(0|[1-9][0-9]*)$", "float": r"^[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?$"}
for _kind, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list("-+0123456789"))


def read_values(file: str) -> dict[str, Any]:
    """The names and values in a YAML or JSON file; '-' reads standard input.

    Raises: Usage.
    """
    try:
        data = sys.stdin.buffer.read(SIZE_BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
        if len(data) > SIZE_BYTES_MAX:
            raise Usage(f"{file} has more than {SIZE_BYTES_MAX} bytes")
        values = yaml.load(data.decode(), _Loader)  # nosec B506 - a SafeLoader of ours
    except OSError as error:
        raise Usage(f"{file} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Usage(f"{file} is not UTF-8") from error
    except yaml.YAMLError as error:
        raise Usage(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise Usage(f"{file} must hold names and values, such as `priority: 2`")
    return values


def print_values(values: dict[str, Any]) -> None:
    """Values as YAML: changed, they can be given back."""
    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())


def account_of(client: Client, account: str | None) -> str:
    """The account that was named, else the installation's.

    Raises: Usage when there is none.
    """
    wanted = account or client.access.account
    if not wanted:
        raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
    return wanted


def full_name(client: Client, name: str, account: str | None = None) -> str:
    """`account/name`; a name alone is one of the account that was named, else of the installation's.

    Raises: Usage.
    """
    if "/" in name:
        return name
    return f"{account_of(client, account)}/{name}"
