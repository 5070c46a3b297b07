"""Who may see and do what: roles and accounts.

Called by: api and pages (every request, every button), store (filters of queries). Survives a crash: nothing lives
here. Change also: the table of roles in README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ALL_ACCOUNTS = "*"


class Role(StrEnum):
    """What a user may do in the accounts that it sees."""

    VIEWER = "viewer"
    """Reads everything but secrets."""
    OPERATOR = "operator"
    """Acts on tasks, runs, robots and deliveries, too."""
    ADMIN = "admin"
    """Changes accounts, users, keys, workflows, documents and endpoints, too."""


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True)
class Viewer:
    """A user who is logged in."""

    name: str
    role: Role
    accounts: tuple[str, ...]
    """Names of accounts, or ALL_ACCOUNTS alone."""
    session: str
    """Id of the session's document (the hash of its token)."""
    language: str | None = None
    """What the user chose; none: what the browser asks for."""
    dark: bool | None = None
    """What the user chose; none: what the browser asks for."""

    @property
    def everywhere(self) -> bool:
        """Whether every account is this user's, present and future."""
        return ALL_ACCOUNTS in self.accounts

    def may(self, needed: Role) -> bool:
        """Whether the user's role is `needed` or a stronger one."""
        return _RANK[self.role] >= _RANK[needed]

    def sees(self, account: str | None) -> bool:
        """Whether this account is the user's. What belongs to no account is only for users of all accounts."""
        return self.everywhere or (account is not None and account in self.accounts)

    def account_filter(self, account: str | None = None) -> dict[str, Any]:
        """The part of a query's filter that keeps other accounts' documents out; `account` narrows it further."""
        if account is not None:
            return {"account": account} if self.sees(account) else {"account": {"$in": []}}
        return {} if self.everywhere else {"account": {"$in": list(self.accounts)}}

    def worker_filter(self) -> dict[str, Any]:
        """As account_filter, for robots: those without an account are shared, and everybody sees them."""
        return {} if self.everywhere else {"account": {"$in": [*self.accounts, None]}}

    def sees_worker(self, account: str | None) -> bool:
        """Whether a robot of this account (none: shared) may be looked at."""
        return account is None or self.sees(account)

    def grants(self, role: Role, accounts: tuple[str, ...]) -> bool:
        """Whether this user may make or change a user with `role` and `accounts`: nobody gives what it doesn't have."""
        if not self.may(role):
            return False
        return self.everywhere or (ALL_ACCOUNTS not in accounts and all(self.sees(one) for one in accounts))
