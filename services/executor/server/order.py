"""One instruction to perform here, and how it can fail.

Called by: perform.py and the modules beside it. Survives a crash: nothing lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from services.executor.secrets import Opened


@dataclass(frozen=True)
class Order:
    """An entry of the journal with its arguments in clear; never stored, never logged."""

    name: str
    args: Mapping[str, Any]
    effect: Literal["read", "act"]
    timeout_s: float
    """The whole time that it may take."""
    account: str
    workflow: str
    run: str
    seq: int
    task: str | None = None
    secrets: frozenset[str] = frozenset()
    """What must not be seen in values and errors."""

    @classmethod
    def of(cls, run: Mapping[str, Any], entry: Mapping[str, Any], opened: Opened) -> Order:
        """For an entry of a run's journal, with its arguments opened."""
        asked = entry["instruction"]
        return cls(
            name=asked["name"], args=opened.args, effect=asked["effect"], timeout_s=float(asked["timeout_s"]),
            account=run["account"], workflow=run["workflow"], run=run["_id"], seq=entry["seq"],
            task=entry.get("task"), secrets=opened.secrets,
        )  # fmt: skip

    @property
    def is_act(self) -> bool:
        """Whether it may change something."""
        return self.effect == "act"


class Failed(Exception):
    """It took no effect (or was only a read); the script may catch it. `code`: TIMEOUT, NOT_FOUND, BAD_ARGUMENT,
    NOT_ALLOWED or FAILED."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class InDoubt(Failed):
    """It may have taken effect."""


class TooLarge(Exception):
    """It was done, but its value is larger than what is taken."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Args(BaseModel):
    """Arguments of an instruction: exactly these, in exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


A = TypeVar("A", bound=Args)


def read_args(model: type[A], order: Order) -> A:
    """The arguments, checked; the error names the argument and never quotes what it holds.

    Raises: Failed BAD_ARGUMENT.
    """
    given = {name: value for name, value in order.args.items() if name != "timeout"}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise Failed("BAD_ARGUMENT", f"{order.name}: {where}: {text}") from None
