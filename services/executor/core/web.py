"""What a script's request may hold, what a redirect changes, and what of an answer the journal can take.

Called by: services/executor/server/http.py. Sources: RFC 9110 (fields, methods, redirects)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from shared.script.modules import HANDLES

HEADERS_MAX = 50
HEADERS_SIZE_BYTES_MAX = 16 * 1024
JSON_DEPTH_MAX = 60
REDIRECTS = frozenset({301, 302, 303, 307, 308})
OURS = frozenset(
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "expect", "te", "trailer",
        "proxy-authorization", "proxy-connection", "accept-encoding",
    }
)  # fmt: skip
"""Fields that say how a message travels: a script that sets them could smuggle a second request."""
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_BAD_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_INT64 = 2**63


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields as they are sent, by lower-case name.

    Raises: ValueError that names the field and not its value.
    """
    if len(headers) > HEADERS_MAX:
        raise ValueError(f"at most {HEADERS_MAX} headers")
    checked: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not _TOKEN.match(name):
            raise ValueError("a header's name has letters, digits and hyphens")
        if lower in OURS:
            raise ValueError(f"the header {lower} is set by the server")
        if lower in checked:
            raise ValueError(f"the header {lower} is given twice")
        if _BAD_IN_VALUE.search(value) or not value.isascii():
            raise ValueError(f"the header {lower} has characters that are not allowed")
        checked[lower] = value.strip()
    if sum(len(name) + len(value) for name, value in checked.items()) > HEADERS_SIZE_BYTES_MAX:
        raise ValueError(f"headers of more than {HEADERS_SIZE_BYTES_MAX} bytes")
    return checked


def basic(user: str, password: str) -> str:
    """The value of `Authorization` for a log-in (RFC 7617).

    Raises: ValueError for a user with a colon.
    """
    if ":" in user:
        raise ValueError("the user of a log-in holds a colon")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def redirected_method(method: str, status: int) -> str:
    """The method after a redirect (RFC 9110, 15.4): 307 and 308 keep it, and GET and HEAD stay what they are."""
    if status in (307, 308) or method in ("GET", "HEAD"):
        return method
    if status == 303 or method == "POST":
        return "GET"
    return method


def parsed_json(text: str) -> Any:
    """The value of a JSON text; none when it is no JSON, or nothing that the journal and a script can hold.

    Left out is what BSON can't keep (integers of more than 64 bits, NaN, names with NUL, half surrogates, deeper than
    60) and whatever holds something that looks like a handle: an answer must not be able to name our secrets.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        _check(value, 0)
    except (ValueError, RecursionError):
        return None
    return value


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _check(value: Any, depth: int) -> None:
    if depth > JSON_DEPTH_MAX:
        raise ValueError("nested too deep")
    if isinstance(value, dict):
        if HANDLES & value.keys():
            raise ValueError("looks like a handle")
        for key, inner in value.items():
            key.encode()
            if "\0" in key:
                raise ValueError("a name holds NUL")
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError("more than 64 bits")
