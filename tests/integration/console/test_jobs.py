"""Commands for the server: who may register them, and what is taken."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.integration.console.site import ACME, OTHER, Site


def fresh() -> str:
    """A name that no other test has."""
    return f"job-{uuid.uuid4().hex[:8]}"


def test_a_command_is_registered_changed_and_removed(console: Site, admin: httpx.Client) -> None:
    name = fresh()
    body = {"command": ["/bin/echo", "{0}"], "env": {"KEY": {"secret": "db/key"}, "MODE": "x"}, "title": "Says it"}
    made = admin.put(f"jobs/{ACME}/{name}", json=body)
    assert made.status_code == 200, made.text
    assert (made.json()["env"], made.json()["timeout_s"], made.json()["enabled"]) == (body["env"], 60, True)
    stored = console.db["jobs"].find_one({"_id": f"{ACME}/{name}"})
    assert stored is not None
    assert {
        "account": ACME, "name": name, "command": ["/bin/echo", "{0}"], "env": body["env"], "folder": None,
        "timeout_s": 60, "memory_bytes_max": 512 * 1024 * 1024, "cpu_s_max": 60, "processes_max": 64,
        "output_bytes_max": 65536, "enabled": True,
    }.items() <= stored.items()  # fmt: skip
    assert admin.put(f"jobs/{ACME}/{name}", json={**body, "enabled": False}).json()["enabled"] is False
    assert admin.get(f"jobs/{ACME}/{name}").json()["title"] == "Says it"
    assert name in [one["name"] for one in admin.get("jobs", params={"account": ACME}).json()["items"]]
    assert admin.delete(f"jobs/{ACME}/{name}").status_code == 204
    assert admin.get(f"jobs/{ACME}/{name}").status_code == 404
    actions = [one["action"] for one in console.db["audit"].find({"target": f"{ACME}/{name}"}).sort("at", 1)]
    assert actions == ["job.put", "job.put", "job.delete"]


def test_only_admins_of_all_accounts_register(console: Site, admin: httpx.Client) -> None:
    mine, common, body = fresh(), fresh(), {"command": ["/bin/true"]}
    assert admin.put(f"jobs/{ACME}/{mine}", json=body).status_code == 200
    assert admin.put(f"jobs/*/{common}", json=body).status_code == 200
    assert admin.put(f"jobs/nobody/{mine}", json=body).status_code == 404
    with console.client("ada") as ada:  # admin of acme
        assert ada.put(f"jobs/{ACME}/{mine}", json=body).status_code == 403
        assert ada.put(f"jobs/*/{mine}", json=body).status_code == 403
        assert ada.delete(f"jobs/{ACME}/{mine}").status_code == 403
        assert ada.get(f"jobs/{ACME}/{mine}").status_code == 200
        assert ada.get(f"jobs/*/{common}").status_code == 404
        assert common not in ada.get("jobs").text
    with console.client("olga") as olga:  # admin of other
        assert olga.get(f"jobs/{ACME}/{mine}").status_code == 404
        assert mine not in olga.get("jobs").text
        assert olga.put(f"jobs/{OTHER}/{mine}", json=body).status_code == 403
    with console.client("ole") as ole:  # operator of all
        assert ole.get("jobs").status_code == 403
        assert ole.put(f"jobs/{ACME}/{mine}", json=body).status_code == 403
    assert common in [one["name"] for one in admin.get("jobs").json()["items"]]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"command": []}, {"command": ["echo"]}, {"command": ["./x"]}, {"command": ["/bin/{0}"]},
        {"command": ["/bin/a\0b"]}, {"command": ["/bin/a"], "env": {"A B": "x"}},
        {"command": ["/bin/a"], "env": {"A": {"secret": "../x"}}}, {"command": ["/bin/a"], "folder": "tmp"},
        {"command": ["/bin/a"], "timeout_s": 0}, {"command": ["/bin/a"], "timeout_s": 3601},
        {"command": ["/bin/a"], "memory_bytes_max": 1}, {"command": ["/bin/a"], "shell": True},
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused(admin: httpx.Client, body: dict[str, Any]) -> None:
    assert admin.put(f"jobs/{ACME}/{fresh()}", json=body).status_code == 422
