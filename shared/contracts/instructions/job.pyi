"""Commands on the server, out of those that an administrator has registered."""

from typing import TypedDict

class Ended(TypedDict):
    """How a command ended; the texts are cut at its output limit, with a mark."""

    exit_code: int
    stdout: str
    stderr: str

@act(timeout_s=3600)
def run(
    name: str, arguments: list[str] = [], *, text: str = "", commit: bool = False, timeout: float | None = None
) -> Ended:
    """Run a registered command to its end, in its time (or `timeout`, if less); gives exit_code, stdout, stderr."""
