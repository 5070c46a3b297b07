"""Requests to other systems, made by the server: public addresses only, unless the installation allows more."""

from collections.abc import Mapping
from typing import Any, TypedDict

from regente import Secret

class Response(TypedDict):
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str
    json: Any
    url: str

@act(timeout_s=60)
def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str | Secret] = {},
    params: Mapping[str, str | int | float] = {},
    json: Any = None,
    text: str | None = None,
    auth: Secret | None = None,
    follow: int = 0,
    commit: bool = False,
    timeout: float | None = None,
) -> Response:
    """Ask another system; GET, HEAD and OPTIONS (without commit) are reads, others acts; any status is an answer."""
