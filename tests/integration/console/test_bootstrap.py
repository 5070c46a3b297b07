"""The first account, user, partner and key; again and again."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.integration.collector.running import MASTER_KEY
from tests.integration.console.site import run_bootstrap


def test_bootstrap_keeps_what_is_there_and_repairs_what_is_lost(mongo_url: str, mongo_db: str, tmp_path: Path) -> None:
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REGENTE_")},
        "REGENTE_MONGO_URL": mongo_url,
        "REGENTE_MONGO_DB": mongo_db,
        "REGENTE_AMQP_URL": "amqp://nobody:nothing@127.0.0.1:1/",
        "REGENTE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        "REGENTE_HOME": str(tmp_path),
    }
    out = tmp_path / "deep" / "admin.json"
    said = run_bootstrap(env, out)
    assert "user admin" in said
    first = json.loads(out.read_text())
    assert set(first) >= {"url", "user", "password", "account", "partner", "key", "collector_url", "delivery_url"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "everything is there" in run_bootstrap(env, out)
    assert json.loads(out.read_text()) == first
    with MongoClient[dict[str, Any]](mongo_url) as client:
        db = client[mongo_db]
        assert db["keys"].count_documents({"account": "demo"}) == 1
        out.unlink()
        said = run_bootstrap(env, out)
        assert "new password" in said
        assert "a key" in said
        second = json.loads(out.read_text())
        assert second["password"] != first["password"]
        assert second["key"] != first["key"]
        assert db["users"].count_documents({}) == 1
        key = db["keys"].find_one({"_id": second["key"].split("_")[1]})
        assert key is not None
        assert key["scopes"] == ["tasks", "results", "endpoints"]
        assert list(tmp_path.glob("deep/.admin*")) == []
