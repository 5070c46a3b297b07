"""Asking the server for a place: over HTTP, with this robot's address and key, until a person has authorised it.

Called by: link. Survives a crash: nothing to survive; the broker's password lives in memory only and is asked for
again. Change also: the server's `POST /v1/workers/enrol`.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from regente_agent.wire import MESSAGE_BYTES_MAX

HTTP_TIMEOUT_S = 10
RETRY_MAX_S = 10.0


@dataclass(frozen=True)
class Access:
    """How to reach the broker as this robot's own user."""

    hosts: Tuple[str, ...]
    vhost: str
    user: str
    password: str = field(repr=False)
    tls: bool = False
    seal_key: Optional[str] = field(default=None, repr=False)
    """Opens arguments that are sealed to this robot (sealed.py)."""


@dataclass(frozen=True)
class Pending:
    """A person has to authorise this robot first."""

    retry_after_s: float


@dataclass(frozen=True)
class Refused:
    """The server does not want this robot; the detail is its own words."""

    detail: str


class Unreachable(Exception):
    """No answer, or none that can be understood: try again later."""


def enrol(server_url: str, facts: Mapping[str, Any]) -> Union[Access, Pending, Refused]:
    """Ask once.

    Raises: Unreachable.
    """
    request = urllib.request.Request(
        server_url + "/v1/workers/enrol",
        data=json.dumps(facts).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:  # nosec B310 - the agent's own setting
            return _read(json.loads(answer.read(MESSAGE_BYTES_MAX)))
    except urllib.error.HTTPError as error:
        return _refused(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"{server_url}: {type(error).__name__}: {error}") from error


def _read(answer: Dict[str, Any]) -> Union[Access, Pending]:
    if answer["state"] == "pending":
        return Pending(min(max(float(answer.get("retry_after_s", 2)), 0.2), RETRY_MAX_S))
    if answer["state"] != "authorised":
        raise ValueError(f"unknown state {answer['state']!r}")
    amqp = answer["amqp"]
    hosts = tuple(str(host) for host in amqp["hosts"])
    if not hosts:
        raise ValueError("the server named no broker")
    return Access(
        hosts,
        str(amqp["vhost"]),
        str(amqp["user"]),
        str(amqp["password"]),
        bool(amqp.get("tls", False)),
        str(answer["seal_key"]) if answer.get("seal_key") else None,
    )


def _refused(error: urllib.error.HTTPError) -> Refused:
    """403 is the server's decision; every other status is trouble that may pass.

    Raises: Unreachable.
    """
    detail: Optional[str] = None
    try:
        problem = json.loads(error.read(65536))
        detail = problem.get("detail") or problem.get("title")
    except (ValueError, OSError, AttributeError):
        detail = None
    if error.code != 403:
        raise Unreachable(f"the server answered {error.code}: {detail or error.reason}") from error
    return Refused(str(detail or "the server refused this robot")[:500])
