"""A registered command as it is run: its words, and what it inherits.

Called by: services/executor/server/job.py. Change also: services/console/api/jobs.py, which takes the registrations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

ARGUMENTS_MAX = 100
ARGUMENTS_SIZE_BYTES_MAX = 96 * 1024
_PLACE = re.compile(r"\{(\d{1,2})\}")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def words(command: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The command's words with the arguments where `{0}`, `{1}` .. stand, or behind it when none stands there.

    Every argument stays one word (there is no shell), and is never looked at for places itself. The program, the first
    word, has no places.
    Raises: ValueError when there are too many or too few.
    """
    if len(arguments) > ARGUMENTS_MAX or sum(len(one.encode()) for one in arguments) > ARGUMENTS_SIZE_BYTES_MAX:
        raise ValueError(f"at most {ARGUMENTS_MAX} arguments of {ARGUMENTS_SIZE_BYTES_MAX} bytes together")
    if any("\0" in one for one in arguments):
        raise ValueError("an argument holds a NUL character")
    wanted = places(command)
    if wanted == 0:
        return [*command, *arguments]
    if len(arguments) != wanted:
        raise ValueError(f"this command takes {wanted} arguments, not {len(arguments)}")
    rest = [_PLACE.sub(lambda found: arguments[int(found[1])], word) for word in command[1:]]
    return [command[0], *rest]


def places(command: Sequence[str]) -> int:
    """How many arguments a command has places for: one more than its highest number."""
    numbers = [int(number) for word in command[1:] for number in _PLACE.findall(word)]
    return max(numbers) + 1 if numbers else 0


def environment(own: Mapping[str, str], *, folder: str, run: str, seq: int, task: str | None) -> dict[str, str]:
    """All that a command inherits; `own` is what its registration adds."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
        "REGENTE_OPERATION": f"{run}/{seq}",
        **({"REGENTE_TASK": task} if task else {}),
        **own,
    }
