"""What a script's host call asks for: a robot's instruction, something of the server's, or nothing that exists.

Called by: services/executor/phase.py and replay.py at every stop of the interpreter. Every call is checked against the
catalogue here, again at each resume: a dump carries the names it was made with, and would go on with a renamed
instruction without complaint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from services.executor.core.args import ARGS_SIZE_BYTES_MAX, SERVER_ARGS_SIZE_BYTES_MAX
from services.executor.core.plain import field_name, log_field, number
from services.executor.core.waits import DECIDE, WAIT, decide_problem, wait_problem
from shared.contracts.catalogue import MODULES, BadCall, Instruction, catalogue
from shared.script.modules import LOG_LEVELS, ROBOT_PREFIX, SERVER_PREFIX

LOG_MESSAGE_CHARS_MAX = 2000
ERROR_MESSAGE_CHARS_MAX = 2000
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""HTTP methods that change nothing (RFC 9110, 9.2.1), so they may be asked again."""
CLOCK_CALLS = frozenset({"datetime.now", "date.today", "time.time"})


@dataclass(frozen=True)
class RobotCall:
    """An instruction for the robot, with its arguments by name (handles, not values)."""

    instruction: Instruction
    args: dict[str, Any]
    commit: bool
    timeout_s: float


@dataclass(frozen=True)
class ServerCall:
    """An instruction that the executor performs itself, with its arguments by name (handles, not values)."""

    instruction: Instruction
    args: dict[str, Any]
    effect: Literal["read", "act"]
    """The call's own: a request that only asks is a read."""
    commit: bool
    timeout_s: float


@dataclass(frozen=True)
class LogCall:
    """A line for the log."""

    level: str
    message: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class SecretCall:
    """A handle to a document."""

    name: str


@dataclass(frozen=True)
class CodeCall:
    """A handle to a one-time code."""

    name: str


@dataclass(frozen=True)
class BusinessErrorCall:
    """The script ends the task: its input is wrong."""

    message: str


@dataclass(frozen=True)
class LoginRejectedCall:
    """The script says that the portal refused its log-in: every further try brings the user nearer to being locked."""

    message: str


@dataclass(frozen=True)
class ClockCall:
    """The script asks for the time."""

    function: str


@dataclass(frozen=True)
class WaitCall:
    """The script wants to wait for a time."""

    seconds: float
    release: bool = False
    """Its robot may do other work meanwhile."""


@dataclass(frozen=True)
class DecideCall:
    """The script asks a person."""

    args: dict[str, Any]


Call = (
    RobotCall
    | ServerCall
    | LogCall
    | SecretCall
    | CodeCall
    | BusinessErrorCall
    | LoginRejectedCall
    | ClockCall
    | WaitCall
    | DecideCall
)


class Place(StrEnum):
    """Who performs an instruction."""

    ROBOT = "robot"
    SERVER = "server"
    WAIT = "wait"


@dataclass(frozen=True)
class NotedCall:
    """A call that becomes an entry of the journal before it is performed."""

    name: str
    args: dict[str, Any]
    effect: str
    commit: bool
    timeout_s: float

    @property
    def size_bytes_max(self) -> int:
        """Of its arguments."""
        return SERVER_ARGS_SIZE_BYTES_MAX if place_of(self.name) is Place.SERVER else ARGS_SIZE_BYTES_MAX


def place_of(name: str) -> Place:
    """Who performs an instruction of this name."""
    module = name.partition(".")[0]
    if module in MODULES:
        return Place.ROBOT
    return Place.WAIT if name in (WAIT, DECIDE) else Place.SERVER


def noted_call(call: Call, *, phase: str, noted_from_s: float = 0.0) -> NotedCall | None:
    """The entry that a call becomes, or none for one that is answered at once. phase: where the script is.

    Raises: BadCall for a wait that is not allowed there.
    """
    if isinstance(call, RobotCall):
        return NotedCall(call.instruction.name, call.args, call.instruction.effect, call.commit, call.timeout_s)
    if isinstance(call, ServerCall):
        return NotedCall(call.instruction.name, call.args, call.effect, call.commit, call.timeout_s)
    if isinstance(call, WaitCall):
        problem = wait_problem(call.seconds, release=call.release, phase=phase)
        if problem is not None:
            raise BadCall(problem)
        if call.seconds < noted_from_s and not call.release:
            return None
        return NotedCall(WAIT, {"seconds": call.seconds, "release": call.release}, "read", False, call.seconds)
    if isinstance(call, DecideCall):
        problem = decide_problem(call.args, phase=phase)
        if problem is not None:
            raise BadCall(problem)
        return NotedCall(DECIDE, call.args, "read", False, float(call.args.get("timeout") or 0.0))
    return None


def read_call(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_os: bool, instruction_s: float
) -> Call:
    """What a host call asks for. `instruction_s`: the workflow's own least time for an instruction, seconds.

    Raises: BadCall for a call that does not exist or has wrong arguments.
    """
    if is_os:
        return _os_call(name, args)
    if name.startswith(ROBOT_PREFIX):
        return _robot_call(name.removeprefix(ROBOT_PREFIX), args, kwargs, instruction_s)
    if name == "regente.secrets.get":
        return SecretCall(_text(name, args, kwargs, "name"))
    if name == WAIT:
        bound = _bind(name, args, kwargs, ("seconds",), {"release": False})
        return WaitCall(_number(name, bound["seconds"]), _flag(name, bound["release"]))
    if name == DECIDE:
        return DecideCall(_decide_args(name, args, kwargs))
    if name == "regente.secrets.totp":
        return CodeCall(_text(name, args, kwargs, "name"))
    if name == "regente.business_error":
        return BusinessErrorCall(_text(name, args, kwargs, "message")[:ERROR_MESSAGE_CHARS_MAX])
    if name == "regente.login_rejected":
        return LoginRejectedCall(_text(name, args, kwargs, "message")[:ERROR_MESSAGE_CHARS_MAX])
    module, _, function = name.rpartition(".")
    if module == "regente.log" and function in LOG_LEVELS:
        message = _text(name, args, {k: v for k, v in kwargs.items() if k == "message"}, "message")
        fields = {field_name(k): log_field(v) for k, v in list(kwargs.items())[:20] if k != "message"}
        return LogCall(function, message[:LOG_MESSAGE_CHARS_MAX], fields)
    served = catalogue().get(name.removeprefix(SERVER_PREFIX)) if name.startswith(SERVER_PREFIX) else None
    if served is not None and served.place == "server":
        return _server_call(served, args, kwargs, instruction_s)
    raise BadCall(f"there is no {name}")


def _robot_call(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], instruction_s: float) -> RobotCall:
    instruction = catalogue().get(name)
    if instruction is None or instruction.place != "robot":
        raise BadCall(f"there is no instruction {name}")
    bound, commit = _bound(instruction, args, kwargs)
    return RobotCall(instruction, bound, commit, instruction.deadline_s(bound, instruction_s))


def _server_call(
    instruction: Instruction, args: tuple[Any, ...], kwargs: Mapping[str, Any], instruction_s: float
) -> ServerCall:
    bound, commit = _bound(instruction, args, kwargs)
    if bound.get("timeout") == 0:
        raise BadCall(f"{instruction.name}: timeout must be more than 0")
    effect = instruction.effect
    if instruction.name == "http.request" and not commit and str(bound["method"]) in READING_METHODS:
        effect = "read"
    return ServerCall(instruction, bound, effect, commit, instruction.deadline_s(bound, instruction_s))


def _bound(instruction: Instruction, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Arguments by name without `commit`, and that."""
    bound = instruction.bind(args, kwargs)
    commit = bound.pop("commit", False)
    if not isinstance(commit, bool):
        raise BadCall(f"{instruction.name}: commit must be True or False")
    wait = bound.get("timeout")
    if wait is not None and (number(wait) is None or wait < 0):
        raise BadCall(f"{instruction.name}: timeout must be a number of seconds")
    return bound, commit


def _os_call(name: str, args: tuple[Any, ...]) -> Call:
    if name in CLOCK_CALLS:
        return ClockCall(name)
    if name in ("time.sleep", "asyncio.sleep") and args:
        return WaitCall(_number(name, args[0]))
    raise BadCall(f"{name} is not allowed in a script")


def _decide_args(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a question, checked for their types."""
    optional: dict[str, Any] = {"options": [], "image": None, "timeout": None, "default": None, "release": False}
    bound = _bind(name, args, kwargs, ("question",), optional)
    texts = {key: bound[key] for key in ("question", "image", "default") if bound[key] is not None}
    if not isinstance(bound["question"], str) or any(not isinstance(value, str) for value in texts.values()):
        raise BadCall(f"{name}: question, image and default are texts")
    if not isinstance(bound["options"], list | tuple):
        raise BadCall(f"{name}: options is a list of texts")
    timeout = None if bound["timeout"] is None else _number(name, bound["timeout"])
    release = _flag(name, bound["release"])
    return {**bound, "options": list(bound["options"]), "timeout": timeout, "release": release}


def _bind(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], positional: tuple[str, ...],
    optional: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Arguments by name: `positional` are needed, `optional` (with their defaults) are given by name only.

    Raises: BadCall.
    """
    bound = {**optional, **dict(zip(positional, args, strict=False)), **kwargs}
    if len(args) > len(positional) or set(bound) != {*positional, *optional}:
        raise BadCall(f"{name} takes {', '.join(positional)}; by name: {', '.join(optional)}")
    return bound


def _number(name: str, value: Any) -> float:
    found = number(value)
    if found is None:
        raise BadCall(f"{name}: a time is a number of seconds")
    return found


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadCall(f"{name}: release is True or False")
    return value


def _text(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], parameter: str) -> str:
    values = [*args, *kwargs.values()]
    if len(values) != 1 or not isinstance(values[0], str) or any(key != parameter for key in kwargs):
        raise BadCall(f"{name} takes one text")
    return values[0]
