"""JMESPath expressions that other people write, evaluated so that none can take the process with it.

Called by: source_settings.py (checks them when a source is saved), collector (maps answers). Pure. JMESPath has no
loops, but `[@,@][]|[@,@][]|...` doubles with every step, and `join` can make more text than there is memory. So every
step is charged with the size of what it gives, as if it were written out, and the budget ends it. Evaluate in a
thread: the whole budget is a second or two. Source: https://jmespath.org/specification.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath import functions
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult
from jmespath.visitor import Options, TreeInterpreter

LENGTH_MAX = 1000
BUDGET = 3_000_000
"""Nodes that one evaluation may touch; a page of 5 MB with 10,000 items takes a third."""
TEXT_PER_NODE = 16


class BadExpression(ValueError):
    """It is no JMESPath, or too long; the text says where."""


class Failed(Exception):
    """It can't be evaluated here, or takes more than it may."""


@dataclass
class Purse:
    """What evaluations may still take: one purse for all expressions of an answer and its items."""

    left: int = BUDGET

    def pay(self, value: Any) -> None:
        """Charge for a value, as large as it would be written out: a shared part counts as often as it stands there.

        Raises: Failed.
        """
        stack = [value]
        while stack:
            node = stack.pop()
            self.left -= 1
            if isinstance(node, str):
                self.left -= len(node) // TEXT_PER_NODE
            elif isinstance(node, list):
                stack.extend(node)
            elif isinstance(node, Mapping):
                stack.extend(node.values())
            if self.left < 0:
                raise Failed("the expression takes too long on this answer; make it, or the page, smaller")


class _Functions(functions.Functions):
    """The standard ones; `join` pays before it makes a long text."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, array: list[str]) -> str:
        self._purse.left -= len(separator) * len(array) // TEXT_PER_NODE
        self._purse.pay(array)
        return separator.join(array)


class _Interpreter(TreeInterpreter):
    def __init__(self, purse: Purse) -> None:
        super().__init__(Options(custom_functions=_Functions(purse)))
        self._purse = purse

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one node, and pay for it."""
        self._purse.left -= 1
        if self._purse.left < 0:
            self._purse.pay(None)
        value = super().visit(node, *args, **kwargs)
        if node["type"] not in _FREE:
            self._purse.pay(value)
        return value


_FREE = frozenset({"current", "identity", "expref", "field", "index", "index_expression", "subexpression"})
"""Nodes that only lead to a part of what was paid for."""


class Expression:
    """A checked expression."""

    def __init__(self, text: str) -> None:
        """Raises: BadExpression."""
        if not text.strip():
            raise BadExpression("an expression is missing")
        if len(text) > LENGTH_MAX:
            raise BadExpression(f"an expression has {len(text)} characters; at most {LENGTH_MAX} are taken")
        self.text = text
        try:
            self._parsed: ParsedResult = jmespath.compile(text)
        except JMESPathError as error:
            raise BadExpression(f"no JMESPath expression: {_line(error)}") from error
        except (RecursionError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise BadExpression(f"no JMESPath expression: {_line(error)}") from error

    def of(self, value: Any, purse: Purse | None = None) -> Any:
        """What it gives on a JSON value; null where there is nothing.

        Raises: Failed.
        """
        purse = purse or Purse()
        try:
            found = _Interpreter(purse).visit(self._parsed.parsed, value)
            purse.pay(found)
            return found
        except JMESPathError as error:
            raise Failed(f"{self.text!r}: {_line(error)}") from error
        except RecursionError:
            raise Failed(f"{self.text!r}: nested too deeply") from None
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError, ZeroDivisionError) as error:
            raise Failed(f"{self.text!r}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
