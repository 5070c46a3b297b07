"""Whether the demo held, and what to say about it: functions of what was observed.

Owns: the expectations. Called by: demo.run, tests. Survives a crash: nothing lives here. Change also: README.md, whose
first screen shows this summary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from demo.portal import register

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass
class Observed:
    """What the demo saw, each from the side that must know it."""

    pushed: list[dict[str, Any]]
    """The tasks as the partner pushed them."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By reference, as the console shows them."""
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    """As the partner verified and stored them."""
    conflicts: int = 0
    rejected: int = 0
    submits: dict[str, int] = field(default_factory=dict)
    """Submissions by reference, as the portal counted them."""
    screenshots: int = 0
    """Pictures that the partner fetched and whose SHA-256 fits."""
    seconds: float = 0.0
    """From the push to the last verified delivery."""

    @property
    def references(self) -> list[str]:
        """The references that were pushed."""
        return [task["reference"] for task in self.pushed]

    def outcome(self, reference: str) -> str:
        """succeeded, business failure, system failure, or the state it is in."""
        task = self.tasks.get(reference, {})
        state = str(task.get("state", "not accepted"))
        if state != "failed":
            return state
        return f"{(task.get('error') or {}).get('kind', 'unknown')} failure"

    def delivered(self, reference: str) -> bool:
        """Did the partner verify this task's final outcome?"""
        return any(_reference(one) == reference and _state(one) in FINAL for one in self.deliveries)

    def result(self, reference: str) -> str:
        """What the partner was told: the protocol number, or why there is none."""
        for one in self.deliveries:
            data = one["content"]["data"]
            if data["reference"] == reference:
                result = data.get("result") or {}
                output = result.get("output", result)
                return str(output.get("protocol") or (data.get("error") or data.get("hold") or {}).get("message") or "")
        return ""

    def done(self) -> bool:
        """Is every task final, and every outcome with the partner?"""
        return all(self.delivered(name) and self.tasks.get(name, {}).get("state") in FINAL for name in self.references)


@dataclass(frozen=True)
class Check:
    """One line of the summary."""

    holds: bool
    text: str


def judge(observed: Observed) -> list[Check]:
    """Every expectation of the demo, with what was found."""
    return [
        _outcomes(observed),
        _deliveries(observed),
        _screenshots(observed),
        _submits(observed),
        Check(
            True,
            f"{observed.seconds / max(1, len(observed.pushed)):.1f} seconds per task ({observed.seconds:.0f} s in all)",
        ),
    ]


def expected_outcome(task: dict[str, Any]) -> str:
    """What must become of a task: the portal's register decides."""
    return "succeeded" if register.find(task["input"]["registration"]) else "business failure"


def _outcomes(observed: Observed) -> Check:
    found = [observed.outcome(name) for name in observed.references]
    wanted = [expected_outcome(task) for task in observed.pushed]
    counts = {name: found.count(name) for name in dict.fromkeys([*wanted, *found])}
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    return Check(found == wanted, f"{len(found)} tasks: {text}")


def _deliveries(observed: Observed) -> Check:
    final = [_reference(one) for one in observed.deliveries if _state(one) in FINAL]
    holds = sorted(final) == sorted(observed.references) and not observed.conflicts and not observed.rejected
    text = f"{len(final)} signed deliveries verified"
    repeats = sum(one["repeats"] for one in observed.deliveries)
    text += f", {repeats} exact repeats" if repeats else ""
    text += f", {observed.conflicts} with other content under the same id" if observed.conflicts else ""
    text += f", {observed.rejected} that did not verify" if observed.rejected else ""
    return Check(holds, text)


def _screenshots(observed: Observed) -> Check:
    return Check(
        observed.screenshots >= len(observed.pushed), f"{observed.screenshots} screenshots, fetched by the partner"
    )


def _submits(observed: Observed) -> Check:
    wanted = {task["reference"]: int(expected_outcome(task) == "succeeded") for task in observed.pushed}
    found = {name: observed.submits.get(name, 0) for name in wanted}
    text = f"{sum(found.values())} certificates issued by the portal"
    if found == wanted:
        return Check(True, f"{text}, each exactly once")
    wrong = ", ".join(f"{name} {found[name]} times" for name in wanted if found[name] != wanted[name])
    return Check(False, f"{text}; not as often as it should be: {wrong}")


def _reference(delivery: dict[str, Any]) -> str:
    return str(delivery["content"].get("data", {}).get("reference"))


def _state(delivery: dict[str, Any]) -> str:
    return str(delivery["content"].get("data", {}).get("state"))
