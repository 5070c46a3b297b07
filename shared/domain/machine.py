"""What a state machine is here: states, edges with a reason and an owner, and one check.

Called by: the `*_state` modules beside it; docs/generate.py draws ARCHITECTURE.md's diagrams and table from EDGES.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


class IllegalTransition(Exception):
    """A change of state that the edge table does not hold, or that another service owns."""


@dataclass(frozen=True)
class Edge:
    """One allowed change of state."""

    owner: str
    """The one service that may take it; the others send it a command."""
    reason: str
    """Why it happens, as a reader of the journal would say it."""


@dataclass(frozen=True)
class Machine(Generic[S]):
    """A named table of edges."""

    name: str
    initial: S
    edges: Mapping[tuple[S, S], Edge]

    def check(self, before: S, after: S, *, owner: str) -> Edge:
        """The edge from `before` to `after`.

        Raises: IllegalTransition when there is none, or when it isn't `owner`'s to take.
        """
        edge = self.edges.get((before, after))
        if edge is None:
            raise IllegalTransition(f"{self.name}: no way from {before} to {after}")
        if owner not in edge.owner.split(" or "):
            raise IllegalTransition(f"{self.name}: {before} -> {after} belongs to {edge.owner}, not to {owner}")
        return edge

    def sources(self, after: S, *, owner: str) -> list[S]:
        """States from which `owner` may go to `after`: what a guarded update expects."""
        return [a for (a, b), edge in self.edges.items() if b == after and owner in edge.owner.split(" or ")]

    def final(self) -> set[S]:
        """States that nothing leads out of."""
        leaving = {before for before, _ in self.edges}
        return {after for _, after in self.edges if after not in leaving}
