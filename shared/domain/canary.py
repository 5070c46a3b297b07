"""The canary: a small task that goes through the whole system every minute, so that a fault is known before a partner
tells of it.

Called by: console (makes its account, key and workflows), alerts (pushes it, waits for its result, tells when there is
none), and whoever counts for bills or partners (`is_counted`). Pure. Change also: docs/canary.md.
"""

from __future__ import annotations

ACCOUNT = "canary"
"""Its account, which no customer may have."""
PARTNER = "canary"
SERVER = "server"
"""The workflow that needs no robot."""
ROBOT = "robot"
"""The workflow that a robot with the tag TAG runs."""
TAG = "canary"
KEY_PURPOSE = "canary-key"
"""Of the key that console stores and alerts uses; both derive it from the master key."""


def is_counted(account: str | None) -> bool:
    """Whether tasks of an account stand in bills and in figures for partners."""
    return account != ACCOUNT
