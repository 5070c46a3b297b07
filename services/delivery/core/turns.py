"""How much of the process one endpoint may use. Called by: sender.py. Pure."""

from __future__ import annotations


def free_places(most: int, *, busy: int, under_way: int, at_once_max: int) -> int:
    """How many more attempts an endpoint may get now.

    most: at once, as the endpoint and its circuit allow. busy: it has under way; under_way: all have; at_once_max: of
    the process. The second half of the process's places is given out one to an endpoint: so a few endpoints that are
    slow take the first half, and all others still get through.
    """
    room = at_once_max - under_way
    crowded = 2 * under_way >= at_once_max
    return max(0, min((min(most, 1) if crowded else most) - busy, room))
