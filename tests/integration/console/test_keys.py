"""Partners' keys: made on terms, rotated with overlap, and what of them can be seen."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.mongo import Mongo
from shared.runtime import signing
from shared.runtime.auth import Keys
from shared.runtime.problems import Problem
from shared.seal import Sealer
from tests.integration.console.site import ACME, MASTER_KEY, Site


def make(admin: httpx.Client, **terms: Any) -> dict[str, Any]:
    """A new key of a partner of ACME."""
    made: dict[str, Any] = (
        admin.post("keys", json={"account": ACME, "partner": "rotating", "scopes": ["tasks"], **terms})
        .raise_for_status()
        .json()
    )
    return made


def shown(admin: httpx.Client, id: str) -> dict[str, Any]:
    """A key as the list shows it."""
    (found,) = [one for one in admin.get("keys", params={"limit": 200}).json()["items"] if one["id"] == id]
    return dict(found)


def works(console: Site, key: str, address: str = "203.0.113.5") -> bool:
    """Whether the partners' APIs take a key, as they check it."""

    async def check() -> bool:
        mongo = Mongo(console.ground.mongo_url, console.db.name)
        try:
            await Keys(mongo).check(key, "tasks", address)
        except Problem:
            return False
        finally:
            await mongo.close()
        return True

    return asyncio.run(check())


def test_a_key_keeps_its_terms(console: Site, admin: httpx.Client) -> None:
    ends = datetime.now(UTC) + timedelta(days=30)
    terms = {"networks": ["203.0.113.0/24", "2001:db8::7"], "limits": {"requests_per_min": 60}, "signing": True}
    made = make(admin, expires_at=ends.isoformat(), **terms)
    one = shown(admin, made["id"])
    assert one["networks"] == ["203.0.113.0/24", "2001:db8::7/128"]
    assert one["limits"] == {"requests_per_min": 60, "tasks_per_min": None}
    assert (one["signing"], one["replaced_by"], one["last_used_at"]) == (True, None, None)
    assert works(console, made["key"])
    assert not works(console, made["key"], "198.51.100.1")
    stored = console.db["keys"].find_one({"_id": made["id"]})
    opened = Sealer(MASTER_KEY).open(signing.PURPOSE, stored["signing"], made["id"].encode())
    assert opened.decode() == made["signing_secret"]
    listed = admin.get("keys").text
    assert made["signing_secret"] not in listed
    assert "whsec_" not in listed
    audited = console.db["audit"].find_one({"action": "key.add", "target": made["id"]})["details"]
    assert made["signing_secret"] not in str(audited)
    assert (audited["networks"], audited["signing"]) == (one["networks"], True)


@pytest.mark.parametrize(
    "terms",
    [
        {"networks": ["203.0.113.7/24"]},
        {"networks": ["everywhere"]},
        {"limits": {"requests_per_min": 0}},
        {"limits": {"bytes_per_min": 1}},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2090-01-01T00:00:00"},
    ],
)
def test_terms_that_cannot_be_meant_are_refused(admin: httpx.Client, terms: dict[str, Any]) -> None:
    body = {"account": ACME, "partner": "refused", "scopes": ["tasks"], **terms}
    assert admin.post("keys", json=body).status_code == 422


def test_a_rotated_key_and_its_successor_both_work_until_the_overlap_ends(console: Site, admin: httpx.Client) -> None:
    old = make(admin, networks=["203.0.113.0/24"], limits={"tasks_per_min": 7}, signing=True)
    new = admin.post(f"keys/{old['id']}/rotate", json={"overlap_hours": 2}).raise_for_status().json()
    assert works(console, old["key"])
    assert works(console, new["key"])
    assert new["signing_secret"] not in (None, old["signing_secret"])
    before, after = shown(admin, old["id"]), shown(admin, new["id"])
    left = datetime.fromisoformat(before["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < left <= timedelta(hours=2)
    assert (before["replaced_by"], after["replaces"]) == (new["id"], old["id"])
    for name in ("account", "partner", "scopes", "networks", "limits", "signing"):
        assert after[name] == before[name]
    console.db["keys"].update_one({"_id": old["id"]}, {"$set": {"expires_at": datetime.now(UTC)}})
    assert not works(console, old["key"])
    assert works(console, new["key"])


def test_a_successor_lives_as_long_as_its_predecessor_was_made_for(admin: httpx.Client) -> None:
    old = make(admin, expires_at=(datetime.now(UTC) + timedelta(days=90)).isoformat())
    second = admin.post(f"keys/{old['id']}/rotate", json={"overlap_hours": 24}).json()
    third = admin.post(f"keys/{second['id']}/rotate", json={"overlap_hours": 0}).json()
    one = shown(admin, third["id"])
    lives = datetime.fromisoformat(one["expires_at"]) - datetime.fromisoformat(one["created_at"])
    assert abs(lives - timedelta(days=90)) < timedelta(minutes=1)
    assert datetime.fromisoformat(shown(admin, second["id"])["expires_at"]) <= datetime.now(UTC)


def test_what_is_no_good_key_any_more_is_not_rotated(admin: httpx.Client) -> None:
    replaced, revoked = make(admin), make(admin)
    admin.post(f"keys/{replaced['id']}/rotate", json={}).raise_for_status()
    admin.delete(f"keys/{revoked['id']}").raise_for_status()
    for id, why in ((replaced["id"], "replaced"), (revoked["id"], "revoked")):
        answer = admin.post(f"keys/{id}/rotate", json={})
        assert (answer.status_code, why in answer.json()["detail"]) == (409, True)
    assert admin.post("keys/none/rotate", json={}).status_code == 404


def test_rotated_by_many_at_once_a_key_has_one_successor(console: Site, admin: httpx.Client) -> None:
    old = make(admin)
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: admin.post(f"keys/{old['id']}/rotate", json={}).status_code, range(4)))
    assert sorted(statuses) == [201, 409, 409, 409]
    assert console.db["keys"].count_documents({"replaces": old["id"]}) == 1


def test_a_rotation_that_breaks_off_changes_nothing(console: Site, admin: httpx.Client) -> None:
    """The second write of the two fails: the old key has no end, and no key that nobody knows is left."""
    old = make(admin)
    console.db.command("collMod", "keys", validator={"replaces": {"$ne": old["id"]}})
    try:
        assert admin.post(f"keys/{old['id']}/rotate", json={}).status_code >= 500
    finally:
        console.db.command("collMod", "keys", validator={})
    one = shown(admin, old["id"])
    assert (one["expires_at"], one["replaced_by"]) == (None, None)
    assert works(console, old["key"])
    assert admin.post(f"keys/{old['id']}/rotate", json={}).status_code == 201


def test_only_good_keys_count_against_the_partners_limit(console: Site, admin: httpx.Client) -> None:
    body = {"account": ACME, "partner": "crowded", "scopes": ["tasks"]}
    made = admin.post("keys", json=body).json()
    template = console.db["keys"].find_one({"_id": made["id"]})
    console.db["keys"].insert_many(
        [{**template, "_id": f"crowd{n:011d}", "revoked_at": datetime.now(UTC) if n % 2 else None} for n in range(98)]
    )
    assert admin.post("keys", json=body).status_code == 429
    console.db["keys"].update_one({"_id": "crowd00000000000"}, {"$set": {"revoked_at": datetime.now(UTC)}})
    assert admin.post("keys", json=body).status_code == 201
