"""The canary's own workflows pass the checks that every workflow passes, and its account is in no figure."""

from __future__ import annotations

import pytest

from services.console.store.canary import workflows
from shared.domain.canary import ACCOUNT, ROBOT, SERVER, TAG, is_counted
from shared.runtime.auth import derived_key
from shared.script.check import check_workflow
from shared.seal import Sealer


@pytest.mark.parametrize("name", [SERVER, ROBOT])
async def test_its_workflows_are_sound(name: str) -> None:
    checked = await check_workflow(workflows()[name])
    assert not checked.errors
    assert checked.definition is not None
    assert checked.definition.name == name
    assert checked.definition.scenarios[0].worker is (name == ROBOT)
    assert checked.definition.settings.price is None
    assert checked.definition.settings.tags == ([TAG] if name == ROBOT else [])


def test_only_the_canary_is_left_out() -> None:
    assert not is_counted(ACCOUNT)
    assert all(map(is_counted, ("acme", "canary-islands", "", None)))


def test_services_with_one_master_key_have_one_key_of_it() -> None:
    one, other = Sealer(bytes(32)), Sealer(bytes(range(32)))
    assert derived_key(one, "a") == derived_key(Sealer(bytes(32)), "a")
    assert len({derived_key(one, "a"), derived_key(one, "b"), derived_key(other, "a")}) == 3
    key_id, key, hashed = derived_key(one, "a")
    assert key.startswith(f"rgk_{key_id}_")
    assert hashed not in key
