"""What `regente watch` makes of what it hears: notes for people, and when to sound an alarm.

Called by: commands/watch.py. Pure: moments are arguments, in seconds of a clock that only goes forward. Survives a
crash: nothing; who starts anew hears the alarm of what is still wrong.

There is a reason to sound while the server is lost, while nobody looks for what is wrong (the service alerts is gone),
and for each alert that is severe enough, fires, and that nobody has acknowledged or silenced. A new reason sounds at
once, old ones again and again until they are gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SEVERITIES = ("info", "warning", "error", "critical")
LOST, UNWATCHED = "lost", "unwatched"
"""Reasons that are no alert."""


class What(StrEnum):
    """What a note says."""

    NEW = "new"
    """An alert fires."""
    TAKEN = "taken"
    """Somebody looks at it, or silenced it."""
    BACK = "back"
    """Nobody looks at it any more."""
    OVER = "over"
    """It fires no more."""
    LOST = "lost"
    """The server has not answered for too long."""
    FOUND = "found"
    """It answers again."""
    UNWATCHED = "unwatched"
    """The service that finds what is wrong is gone."""
    WATCHED = "watched"
    """It is there again."""


@dataclass(frozen=True)
class Note:
    """Something that changed."""

    what: What
    text: str
    alarming: bool
    alert: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Limits:
    """When it sounds."""

    lost_s: float
    """The server is lost after so long without an answer."""
    repeat_s: float
    """It sounds again after this time while there is a reason; 0: once."""
    severity: str = "critical"
    """Alerts as bad as this are reasons."""


@dataclass
class Watching:
    """What is known, and what was told of it."""

    limits: Limits
    began_s: float
    alerts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Those that fire, as heard last, by id."""
    reasons: set[str] = field(default_factory=set)
    """Why it sounds: ids of alerts, LOST, UNWATCHED."""
    more: bool = False
    """There are more than one answer holds."""
    trouble: str = ""
    """Why the server did not answer last."""
    _heard_s: float | None = None
    _sounded_s: float | None = None
    _fresh: bool = False

    def heard(self, seen: Mapping[str, Any], at_s: float) -> list[Note]:
        """The server answered with what `GET watch` gives."""
        self._heard_s, self.trouble = at_s, ""
        notes = self._settle(LOST, False, What.FOUND, "the server answers again")
        notes += self._pulse(seen.get("silent_s"))
        current: dict[str, Mapping[str, Any]] = {one["id"]: one for one in seen["alerts"]}
        for id, one in current.items():
            notes += self._alert(id, one, self.alerts.get(id))
        self.more = bool(seen.get("more"))
        for id, one in self.alerts.items():
            if id in current:
                continue
            if self.more:  # the answer was cut: it may still be there
                current[id] = one
                continue
            self.reasons.discard(id)
            notes.append(Note(What.OVER, _line(one), False, one))
        self.alerts = current
        return notes

    @property
    def answered(self) -> bool:
        """Whether the server ever answered."""
        return self._heard_s is not None

    def failed(self, why: str) -> None:
        """It did not answer, or said no."""
        self.trouble = why

    def tick(self, at_s: float) -> list[Note]:
        """Time passes; to be called often."""
        quiet_s = at_s - (self.began_s if self._heard_s is None else self._heard_s)
        if quiet_s < self.limits.lost_s or LOST in self.reasons:
            return []
        why = f": {self.trouble}" if self.trouble else ""
        return self._settle(LOST, True, What.LOST, f"the server has not answered for {quiet_s:.0f} s{why}")

    def sounds(self, at_s: float) -> bool:
        """Whether the alarm sounds now; to be asked after each `heard` and `tick`."""
        repeat_s = self.limits.repeat_s
        again = self._sounded_s is not None and repeat_s > 0 and at_s - self._sounded_s >= repeat_s
        if not self.reasons or not (self._fresh or again):
            self._fresh = self._fresh and bool(self.reasons)
            return False
        self._fresh, self._sounded_s = False, at_s
        return True

    def _pulse(self, silent_s: float | None) -> list[Note]:
        if silent_s is None:
            return self._settle(UNWATCHED, False, What.WATCHED, "alerts is at work again")
        text = f"alerts has not worked for {silent_s:.0f} s: nobody is told of what is wrong"
        return self._settle(UNWATCHED, True, What.UNWATCHED, text)

    def _settle(self, reason: str, holds: bool, what: What, text: str) -> list[Note]:
        """Note a reason's beginning or end, once."""
        if holds == (reason in self.reasons):
            return []
        self._weigh(reason, holds)
        return [Note(what, text, holds)]

    def _alert(self, id: str, one: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Note]:
        alarming = not _taken(one) and _rank(one["severity"]) >= _rank(self.limits.severity)
        self._weigh(id, alarming)
        if before is None:
            return [Note(What.NEW, _line(one), alarming, one)]
        if _taken(before) == _taken(one):
            return []
        return [Note(What.TAKEN if _taken(one) else What.BACK, _line(one), alarming, one)]

    def _weigh(self, reason: str, holds: bool) -> None:
        if holds and reason not in self.reasons:
            self.reasons.add(reason)
            self._fresh = True
        elif not holds:
            self.reasons.discard(reason)


def reasons_in_words(watching: Watching) -> list[str]:
    """Why it sounds, for people and for what is run as a sound; the worst first."""
    said = [f"the server does not answer{': ' + watching.trouble if watching.trouble else ''}"]
    said = said if LOST in watching.reasons else []
    said += ["alerts is gone: nobody is told of what is wrong"] if UNWATCHED in watching.reasons else []
    return said + [_line(one) for one in worst_first(list(watching.alerts.values())) if one["id"] in watching.reasons]


def worst_first(alerts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The most severe first, and of these the newest."""
    newest = sorted(alerts, key=lambda one: str(one["since"]), reverse=True)
    return sorted(newest, key=lambda one: -_rank(one["severity"]))


def _taken(alert: Mapping[str, Any]) -> bool:
    return bool(alert.get("acked") or alert.get("silenced_until"))


def _rank(severity: str) -> int:
    """An unknown one is taken for the worst."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _line(alert: Mapping[str, Any]) -> str:
    account = f"{alert['account']}: " if alert.get("account") else ""
    by = (alert.get("acked") or {}).get("by")
    return printable(f"{alert['severity']} {account}{alert['text']}{f' ({by} looks at it)' if by else ''}")


def printable(text: str) -> str:
    """On one line, and without what a terminal would take for a command."""
    return "".join(one if one.isprintable() else " " for one in text)
