"""Roles and accounts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.core.access import ALL_ACCOUNTS, Role, Viewer

names = st.sampled_from(["acme", "other", "third"])
account_lists = st.one_of(st.just((ALL_ACCOUNTS,)), st.lists(names, min_size=1, unique=True).map(tuple))
viewers = st.builds(Viewer, st.just("u"), st.sampled_from(list(Role)), account_lists, st.just("s"))


def _matches(query: dict[str, object], account: str | None) -> bool:
    wanted = query.get("account")
    if wanted is None:
        return True
    return account in wanted["$in"] if isinstance(wanted, dict) else account == wanted


@given(viewers, st.one_of(st.none(), names), st.one_of(st.none(), names))
def test_filter_lets_through_exactly_what_may_be_seen(
    viewer: Viewer, narrowed: str | None, account: str | None
) -> None:
    seen = viewer.sees(account) and narrowed in (None, account)
    assert _matches(viewer.account_filter(narrowed), account) is seen
    assert _matches(viewer.worker_filter(), account) is viewer.sees_worker(account)


@given(viewers, viewers)
def test_nobody_gives_more_than_it_has(viewer: Viewer, other: Viewer) -> None:
    if viewer.grants(other.role, other.accounts):
        assert viewer.may(other.role)
        assert all(not other.sees(name) or viewer.sees(name) for name in ("acme", "other", "third", "new"))


@pytest.mark.parametrize(("role", "allowed"), [(Role.VIEWER, 1), (Role.OPERATOR, 2), (Role.ADMIN, 3)])
def test_roles_are_a_ladder(role: Role, allowed: int) -> None:
    viewer = Viewer("u", role, ("acme",), "s")
    assert [viewer.may(one) for one in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)] == [n < allowed for n in range(3)]


def test_what_belongs_to_nobody_is_for_users_of_all_accounts() -> None:
    assert not Viewer("u", Role.ADMIN, ("acme",), "s").sees(None)
    assert Viewer("u", Role.VIEWER, (ALL_ACCOUNTS,), "s").sees(None)
