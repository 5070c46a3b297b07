"""What the canary needs: its account, its partner's key and its two workflows.

Owns: nothing of its own; it makes what the console owns. Called by: main.py, where the canary is on. Survives a crash:
each part is made unless it is there, and is looked at anew at the next start. Change also: shared/domain/canary.py.
"""

from __future__ import annotations

from services.console.core.access import ALL_ACCOUNTS, Role, Viewer
from services.console.store.accounts import make_account, make_partner, patch_account_settings
from services.console.store.context import Context
from services.console.store.publish import check, publish
from shared.domain.canary import ACCOUNT, KEY_PURPOSE, PARTNER, ROBOT, SERVER, TAG
from shared.mongo.guarded import insert_once
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.runtime.auth import derived_key

KEPT = {"results_days": 1, "archive_days": 1, "evidence_days": 1}
VIEWER = Viewer("canary", Role.ADMIN, (ALL_ACCOUNTS,), session="")
SCOPES = ("tasks", "results")
WORKFLOW = """\
name: {name}
title: The canary {title}
input: {{type: object, required: [mark], properties: {{mark: {{type: string, maxLength: 100}}}}}}
timeouts: {{task: 1m, instruction: 20s}}
scenarios:
  - {{name: canary, worker: {worker}, max_tasks: 1, script: canary.py}}
settings: {{priority: 5, retry: {{attempts: 1}}{tags}}}
"""
ON_SERVER = """\
def execute(task: dict[str, str]) -> dict[str, str]:
    return {"mark": task["mark"]}
"""
ON_ROBOT = """\
from robot import browser


def setup(group: dict[str, str]) -> None:
    browser.open("about:blank")


def execute(task: dict[str, str]) -> dict[str, str]:
    return {"mark": task["mark"], "url": browser.url()}


def teardown(group: dict[str, str]) -> None:
    browser.close()
"""

log = get_logger(__name__)


def workflows() -> dict[str, dict[str, str]]:
    """The files of the canary's workflows, by name."""
    server = WORKFLOW.format(name=SERVER, title="without a robot", worker="false", tags="")
    robot = WORKFLOW.format(name=ROBOT, title="on a robot", worker="true", tags=f", tags: [{TAG}]")
    return {
        SERVER: {"workflow.yaml": server, "canary.py": ON_SERVER},
        ROBOT: {"workflow.yaml": robot, "canary.py": ON_ROBOT},
    }


async def prepare(context: Context) -> None:
    """Make what is missing; settings that people changed stay.

    Raises: TemporaryError; RuntimeError when the workflows here are wrong.
    """
    if await make_account(context.mongo, ACCOUNT, "Canary"):
        log.info("the canary's account is made")
    account = await context.mongo["accounts"].find_one({"_id": ACCOUNT}) or {}
    if not (account.get("settings") or {}).get("retention"):
        await patch_account_settings(context, VIEWER, ACCOUNT, {"retention": KEPT})
    await make_partner(context.mongo, ACCOUNT, PARTNER)
    await _make_key(context)
    for name, files in workflows().items():
        checked = await check(context, files)
        if checked.errors:
            raise RuntimeError(f"the canary's workflow {name}: {checked.errors}")
        await publish(context, VIEWER, ACCOUNT, files, checked, settings=False)


async def _make_key(context: Context) -> None:
    key_id, _, hashed = derived_key(context.sealer, KEY_PURPOSE)
    document = {
        "_id": key_id, "schema_version": 1, "hash": hashed, "account": ACCOUNT, "partner": PARTNER, "name": "canary",
        "scopes": list(SCOPES), "networks": [], "limits": {}, "signing": None, "created_at": now(), "revoked_at": None,
        "expires_at": None, "replaces": None, "replaced_by": None, "last_used_at": None,
    }  # fmt: skip
    await insert_once(context.mongo["keys"], document)
