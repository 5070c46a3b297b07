"""One run: its instructions as they happen, the script beside them with the line marked, the evidence of each."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.evidence import Lightbox, thumbnails
from services.console.pages.failure import context_view, failure_view
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, code, facts, link, mono, seconds, strip, tag
from services.console.pages.open_decision import OpenDecisions
from services.console.pages.script import script_view
from services.console.pages.texts import state, words
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.context import Context
from services.console.store.runs import abort, get_run, list_steps, run_files, stop
from shared.domain.run_state import FINAL
from shared.errors import PermanentError

STEPS_SHOWN_MAX = 400
"""The newest of a long run; older ones are on pages of their own."""
FOLLOW = "follow"


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/runs/{run}", "/runs", build)


class Journal:
    """The steps that are shown: read once, then only the last few again."""

    def __init__(self, visit: Visit, run: str) -> None:
        self._visit, self._run = visit, run
        self.steps: dict[int, dict[str, Any]] = {}

    async def read(self) -> None:
        """Read what is new, and the unanswered ones again."""
        first_open = min((seq for seq, one in self.steps.items() if _unanswered(one)), default=None)
        after = (first_open - 1) if first_open is not None else max(self.steps, default=0)
        while True:
            page = await list_steps(self._visit.context, self._visit.viewer, self._run, after=after, limit=200)
            self.steps.update({one["seq"]: one for one in page.items})
            for seq in sorted(self.steps)[:-STEPS_SHOWN_MAX]:
                del self.steps[seq]
            if page.next is None:
                return
            after = page.next

    def current(self, chosen: str) -> dict[str, Any] | None:
        """The chosen instruction, or the last one when the page follows."""
        if chosen != FOLLOW and chosen.isdigit() and int(chosen) in self.steps:
            return self.steps[int(chosen)]
        asked = [seq for seq, one in self.steps.items() if one["kind"] == "instruction"]
        return self.steps[max(asked)] if asked else None

    def failed(self) -> dict[str, Any] | None:
        """The newest entry that ended a phase by a failure."""
        ended = [seq for seq, one in self.steps.items() if one["failure"]]
        return self.steps[max(ended)] if ended else None

    def evidence(self) -> list[dict[str, Any]]:
        """All evidence of the steps that are shown."""
        return [link for one in self.steps.values() for link in one["evidence"]]


def _unanswered(step: dict[str, Any]) -> bool:
    return step["kind"] == "instruction" and step["outcome"] is None


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    run = visit.path["run"]
    try:
        document = await get_run(visit.context, visit.viewer, run)
    except PermanentError as error:
        heading(_("Run"))
        ui.label(str(error)).classes("empty")
        return
    heading(
        f"{_('Run')} …{run[-8:]}",
        tag("small", link(document["workflow"], f"/workflows/{document['account']}/{document['workflow']}")),
    )
    files = await run_files(visit.context, visit.viewer, run)
    journal = Journal(visit, run)
    chosen = {"seq": visit.query.get("seq", FOLLOW)}
    asking = OpenDecisions(visit)
    head = Live(classes="part")
    controls = _draw_controls(visit, run, chosen)
    box = Lightbox(visit)

    async def clicked(action: str, key: str) -> None:
        if action == "step":
            chosen["seq"] = key
        await box.on_click(action, key)
        await refresh()

    failure_card = card(_("Failure"))
    with failure_card:
        failure = Live(clicked)
    with ui.element("div").classes("split"):
        with card(_("Instructions")).classes("scroll"):
            steps = Live(clicked)
        with ui.element("div").classes("side"):
            with card(_("Instruction")):
                detail = Live(clicked)
            with card(_("Script")):
                script = Live()

    async def refresh() -> None:
        found = await get_run(visit.context, visit.viewer, run)
        await journal.read()
        current = journal.current(chosen["seq"])
        controls(found)
        await asking.refresh(run=run)
        head.show(_head(visit, found))
        failed = journal.failed()
        failure_card.set_visibility(failed is not None)
        if failed is not None:
            failure.show(failure_view(visit, failed["failure"], files, run=run, evidence=journal.evidence()))
        steps.show(_steps(visit, journal, current))
        detail.show(_detail(visit, current))
        script.show(script_view(files, current, _("No script is stored for this run.")))

    await keep_fresh(visit, refresh)


def _draw_controls(visit: Visit, run: str, chosen: dict[str, str]) -> Any:
    """Follow, stop and abort; returns the function that shows what the run's state allows."""
    _ = visit.text

    async def after_task() -> None:
        question = _("Stop this run? The task in hand is finished; its other tasks go back to the queue.")
        if await confirm(visit, question, _("Stop")):
            await act(visit, Role.OPERATOR, lambda: stop(visit.context, visit.viewer, run, "stopped on the run's page"))

    async def at_once() -> None:
        question = _("Abort this run? The instruction in flight is cut; what it does may be left half done.")
        if await confirm(visit, question, _("Abort"), danger=True):
            await act(
                visit, Role.OPERATOR, lambda: abort(visit.context, visit.viewer, run, "aborted on the run's page")
            )

    with ui.row().classes("filters"):
        follow = ui.button(_("Follow"), icon="sync", on_click=lambda: chosen.update(seq=FOLLOW)).props(
            "flat dense size=sm"
        )
        end = ui.button(_("Stop"), icon="stop", on_click=after_task).props("outline dense size=sm")
        cut = ui.button(_("Abort"), icon="cancel", on_click=at_once).props("outline dense color=negative size=sm")

    def show(found: dict[str, Any]) -> None:
        live = found["state"] not in FINAL
        asked = found.get("abort") is not None
        end.set_visibility(live and not asked and visit.viewer.may(Role.OPERATOR))
        cut.set_visibility(live and visit.viewer.may(Role.OPERATOR))
        follow.set_visibility(chosen["seq"] != FOLLOW)

    return show


def _head(visit: Visit, run: dict[str, Any]) -> Html:
    _ = visit.text
    named = words(_)
    tasks = [
        tag(
            "span",
            link(mono(one["task"][-8:]), f"/tasks/{one['task']}"),
            " ",
            state(_, _outcome(one)),
            title=named.get(one["state"], ""),
        )
        for one in run.get("tasks") or []
    ]
    end = run.get("end") or {}
    worker = run.get("worker")
    return strip(
        [
            (_("State"), state(_, run["state"])),
            (
                _("Robot"),
                [link(mono(worker), f"/fleet#{worker}"), " ", link(_("logs"), f"/logs?run={run['_id']}")]
                if worker
                else "",
            ),
            (_("Executor"), run.get("executor")),
            (_("Version"), mono(run.get("version") or "")),
            (_("Epoch"), run.get("epoch")),
            (_("Opened"), visit.moment(run["opened_at"])),
            (_("Finished"), visit.moment(run.get("finished_at"))),
            (_("End"), ": ".join(str(part) for part in (end.get("reason"), end.get("text")) if part)),
            (_("Tasks"), tag("span", tasks, class_="chips")),
        ]
    )


def _outcome(task: dict[str, Any]) -> str:
    """One word for a task of a run: its outcome when it has one, else where it stands."""
    outcome = task.get("outcome")
    if isinstance(outcome, dict):
        outcome = outcome.get("state")
    return str(outcome or task["state"])


def _steps(visit: Visit, journal: Journal, current: dict[str, Any] | None) -> Html:
    _ = visit.text
    rows = [_row(visit, journal.steps[seq], current) for seq in sorted(journal.steps, reverse=True)]
    if not rows:
        return tag("div", _("Nothing yet."), class_="empty")
    return tag("table", tag("tbody", rows), class_="grid steps")


def _row(visit: Visit, step: dict[str, Any], current: dict[str, Any] | None) -> Html:
    _ = visit.text
    if step["kind"] != "instruction":
        about = [words(_).get(step["phase"] or "", step["phase"]), (step["task"] or "")[-8:], step["text"]]
        text = " · ".join(str(part) for part in about if part)
        cells = [
            tag("td", step["seq"], class_="num dim"),
            tag("td", tag("b", words(_).get(step["kind"], step["kind"])), f"  {text}", colspan=6),
        ]
        return tag("tr", cells, class_=f"entry k-{step['kind']}")
    where = f"{step['script'] or ''}:{step['line'] or '?'}"
    pictures = [one for one in step["evidence"] if one["media_type"].startswith("image/")]
    return tag(
        "tr",
        tag("td", step["seq"], class_="num dim"),
        tag("td", visit.moment(step["at"], day=False), class_="dim"),
        tag("td", mono(where), class_="dim"),
        tag(
            "td", tag("b", step["name"]), tag("span", _("commit"), class_="badge s-commit") if step["commit"] else None
        ),
        tag(
            "td",
            state(_, step["outcome"] or "running"),
            tag("span", step["error"], class_="clip bad") if step["error"] else None,
        ),
        tag("td", seconds(step["duration_s"]), class_="num"),
        tag("td", thumbnails(visit, pictures, small=True)),
        class_="step" + (" here" if current is step else ""),
        data_action="step",
        data_key=step["seq"],
    )


def _detail(visit: Visit, step: dict[str, Any] | None) -> Html:
    _ = visit.text
    if step is None:
        return tag("div", _("Choose an instruction."), class_="empty")
    shown = facts(
        [
            (_("Instruction"), [tag("b", step["name"]), " ", mono(f"#{step['seq']}")]),
            (_("Outcome"), state(_, step["outcome"] or "running")),
            (_("Error"), tag("span", step["error"], class_="bad") if step["error"] else ""),
            (_("Function"), mono(step["function"]) if step["function"] else ""),
            (_("Took"), seconds(step["duration_s"])),
            (_("May take"), seconds(step["timeout_s"])),
            (_("Task"), link(mono(step["task"][-8:]), f"/tasks/{step['task']}") if step["task"] else ""),
            (_("Arguments"), code(step["args"]) if step["args"] else ""),
            (_("Selector that matched"), _matched(visit, step)),
            (_("Value"), code(step["value"]) if step["value"] is not None else ""),
            (_("Logged"), code(step["logs"]) if step["logs"] else ""),
        ]
    )
    return Html(shown + context_view(visit, step["context"]) + thumbnails(visit, step["evidence"], small=True))


def _matched(visit: Visit, step: dict[str, Any]) -> str:
    """Which one, counted as people count; the table of objects has their texts."""
    _ = visit.text
    matched = step["matched"]
    return "" if matched is None else f"{_('number')} {matched + 1}"
