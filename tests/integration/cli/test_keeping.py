"""`regente hold` and `regente erasure`."""

from __future__ import annotations

import json
from typing import Any

from shared.seal import Sealer
from tests.integration.console.site import ACME, MASTER_KEY, Site
from tests.integration.delivery.keeping_ground import SECRET, documents, erasing


def test_holds(regente: Any) -> None:
    id = regente("hold", "place", "case 12", "--workflow", "tax").stdout.strip()
    assert id.startswith("hold_")
    listed = regente("hold", "list").stdout
    assert "workflow tax" in listed
    assert "case 12" in listed
    assert regente("hold", "lift", id).stdout == f"{id} is lifted\n"
    assert id not in regente("hold", "list").stdout
    assert id in regente("hold", "list", "--lifted").stdout
    regente("hold", "lift", id, code=1)
    regente("hold", "place", "x", "--task", "t", "--workflow", "tax", code=1)


def test_erasures(regente: Any, console: Site) -> None:
    for collection, ones in documents(ACME, 71).items():
        if collection != "results":
            console.db[collection].insert_many(ones)
    with erasing(console.ground.mongo_url, console.db.name, Sealer(MASTER_KEY)):
        tried = json.loads(regente("erasure", "run", "R71", "--dry-run", "--json").stdout)
        assert (tried["state"], tried["counts"]["tasks"]) == ("done", 1)
        regente("erasure", "run", "R71", text="n\n", code=1)
        assert console.db["tasks"].find_one({"_id": f"task_{ACME}_71"})["input"]["cpf"] == SECRET  # type: ignore[index]
        regente("erasure", "run", "--field", "cpf", "--value", "-", "--yes", text=f"{SECRET}\n")
    done = json.loads(regente("erasure", "list", "--json").stdout)[0]
    assert (done["state"], done["dry_run"], done["counts"]["tasks"]) == ("done", False, 1)
    assert done["id"] in regente("erasure", "list").stdout
    assert "field cpf" in regente("erasure", "show", done["id"]).stdout
    for wrong in ((), ("R1", "--field", "a", "--value", "b"), ("--field", "a")):
        regente("erasure", "run", *wrong, "--yes", code=2)
