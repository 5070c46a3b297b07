"""Golden journals: a folder for each run that was, and how it is played again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import json_util

from services.executor.core.plays import plays_of
from services.executor.interpreter import Interpreter
from services.executor.trial import Past, Trial, Tried
from shared.mongo import Mongo

FOLDER = Path(__file__).parent / "golden"
RUN_FIELDS = (
    "_id", "schema_version", "account", "workflow", "version", "scenario", "group", "epoch", "state", "tasks", "seed",
    "last_seq", "end", "opened_at", "finished_at",
)  # fmt: skip
TASK_FIELDS = ("_id", "schema_version", "input", "state", "attempts", "result", "error", "hold")


@dataclass(frozen=True)
class Golden:
    """A run that was: what is needed to play it again."""

    version: dict[str, Any]
    run: dict[str, Any]
    tasks: list[dict[str, Any]]
    steps: list[dict[str, Any]]

    async def tried(self, interpreter: Interpreter, version: dict[str, Any] | None = None) -> Tried:
        """What a version (none: its own) would have done."""
        past = Past(self.run, plays_of(self.steps), {one["_id"]: one["input"] for one in self.tasks})
        return await Trial(interpreter, past, version or self.version, time_s=60.0).run()

    def with_script(self, text: str) -> dict[str, Any]:
        """Its version with another script."""
        return {**self.version, "files": {**self.version["files"], self.script_name: text}}

    @property
    def script_name(self) -> str:
        """File of the script that it ran."""
        (name,) = [one["script"] for one in self.version["scenarios"] if one["name"] == self.run["scenario"]]
        return str(name)

    @property
    def script(self) -> str:
        """The script that it ran."""
        return str(self.version["files"][self.script_name])

    @property
    def instructions(self) -> list[dict[str, Any]]:
        """Its entries that ask for something."""
        return [one for one in self.steps if one["kind"] == "instruction"]


def names() -> list[str]:
    """The goldens that there are."""
    return sorted(one.name for one in FOLDER.iterdir() if one.is_dir())


def read(name: str) -> Golden:
    """One golden."""
    parts = ("version", "run", "tasks", "steps")
    return Golden(**{part: json_util.loads((FOLDER / name / f"{part}.json").read_text()) for part in parts})


async def record(mongo: Mongo, run: str) -> Golden:
    """A run that has ended, as a golden."""
    document = await mongo["runs"].find_one({"_id": run}) or {}
    version = await mongo["versions"].find_one({"_id": document["version"]}) or {}
    ids = [item["task"] for item in document["tasks"]]
    tasks = await mongo["tasks"].find({"_id": {"$in": ids}}).sort("_id", 1).to_list(None)
    steps = await mongo["steps"].find({"run": run}).sort("_id", 1).to_list(None)
    return Golden(
        version, {key: document.get(key) for key in RUN_FIELDS},
        [{key: task.get(key) for key in TASK_FIELDS} for task in tasks], steps,
    )  # fmt: skip


def write(name: str, golden: Golden) -> None:
    """Keep a golden, for ever."""
    folder = FOLDER / name
    folder.mkdir(parents=True)
    for part in ("version", "run", "tasks", "steps"):
        text = json_util.dumps(getattr(golden, part), json_options=json_util.CANONICAL_JSON_OPTIONS)
        pretty = json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=False)
        (folder / f"{part}.json").write_text(pretty + "\n")
