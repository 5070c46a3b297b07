"""What the local stack prints: one line a step, with the time it took. Standard library only: setup runs before
anything is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StackError(Exception):
    """The stack can't be set up or started; the text says what to do."""


def say(text: str) -> None:
    """One line for the person who started this."""
    print(f"  {text}", flush=True)


@contextmanager
def step(title: str, *, quiet_below_s: float = 0.0) -> Iterator[None]:
    """Print a step's title and how long it took; nothing when it took less than `quiet_below_s`."""
    started = time.monotonic()
    if not quiet_below_s:
        print(f"  {title} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        if not quiet_below_s:
            print(" failed", flush=True)
        raise
    took = time.monotonic() - started
    if not quiet_below_s:
        print(f" {took:.1f} s", flush=True)
    elif took >= quiet_below_s:
        print(f"  {title}: {took:.1f} s", flush=True)


def fail(error: StackError) -> int:
    """Print why it does not go on; the exit code."""
    print(f"regente: {error}", file=sys.stderr, flush=True)
    return 1
