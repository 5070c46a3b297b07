"""What a limit's counter becomes when tasks are executed, and which events follow.

Called by: store.opening (tasks are taken), store.usage (they are given back, or failed by no fault of theirs). A task
is counted once, whatever its attempts: its `counted` names the counters that it stands in. Pure. Source of the rule:
one task is one dispatch, however many attempts; a business failure counts, a system failure does not unless settings
say so.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from shared.domain.events import EventKind, Severity, event_document
from shared.domain.gates import Used
from shared.domain.limits import crossings, period_ends

KEEP_DAYS = 400


def counter_document(used: Used, account: str, workflow: str, now: datetime) -> dict[str, Any]:
    """A counter of a period that begins with it."""
    period = used.counter.rpartition("/")[2]
    return {
        "_id": used.counter, "schema_version": 1, "account": account, "workflow": None if used.of_account else workflow,
        "per": used.limit.per, "period": period, "used": 0,
        "expires_at": period_ends(used.limit.per, now, used.zone) + timedelta(days=KEEP_DAYS),
    }  # fmt: skip


def limit_events(
    used: Used, before: int, after: int, account: str, workflow: str, now: datetime
) -> list[dict[str, Any]]:
    """The events of a counter that went from `before` to `after`; each id makes it one per period and percentage."""
    events: list[dict[str, Any]] = []
    whose = f"account {account}" if used.of_account else f"workflow {account}/{workflow}"
    for percent in crossings(used.limit, before, after):
        reached = percent >= 100
        said = "is reached" if reached else f"is used up to {percent} %"
        then = ("; tasks wait for the next period" if used.limit.blocks else "; tasks go on") if reached else ""
        facts = {
            "per": used.limit.per, "max": used.limit.max, "used": after, "percent": percent, "counter": used.counter,
            "until": period_ends(used.limit.per, now, used.zone), "blocks": used.limit.blocks,
        }  # fmt: skip
        events.append(
            event_document(
                EventKind.LIMIT_REACHED if reached else EventKind.LIMIT_WARNING, service="scheduler",
                severity=Severity.ERROR if reached and used.limit.blocks else Severity.WARNING,
                target=account if used.of_account else f"{account}/{workflow}", account=account,
                text=f"the limit of {used.limit.max} tasks per {used.limit.per} of {whose} {said}{then}", facts=facts,
                id=f"limit/{used.counter}/{used.limit.max}/{percent}", at=now,
            )
        )  # fmt: skip
    return events
