"""The portal's back door for tests and the demo's summary: what was submitted, and faults to inject.

Owns: `Faults` and the `/_demo` routes, which ask for no certificate. Called by: demo.run, tests; demo.portal.pages asks
`Faults` before it answers. Survives a crash: the submissions do, the faults don't (a restarted portal is a healthy
one). Change also: demo/README.md.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from demo.portal.store import Store

HANG_S_MAX = 600.0


class FaultSettings(BaseModel):
    """How the portal misbehaves. A field left out keeps its value; `{}` therefore changes nothing."""

    model_config = ConfigDict(extra="forbid")

    slow_submit_s: float = Field(default=0.0, ge=0, le=HANG_S_MAX, description="Wait before answering a submission.")
    slow_page_s: float = Field(default=2.0, ge=0, le=HANG_S_MAX, description="How long a taxpayer's record takes.")
    late_element_s: float = Field(default=1.5, ge=0, le=HANG_S_MAX, description="When the form's button appears.")
    hang_next_submit: bool = Field(default=False, description="Count the next submission, then don't answer it.")
    fail_next_submit: bool = Field(default=False, description="Refuse the next submission with 500, uncounted.")
    fail_next_pages: int = Field(default=0, ge=0, le=1000, description="Answer so many records with 503.")


class Faults:
    """The switches as they stand now, and the submissions that hang on them."""

    def __init__(self) -> None:
        self.now = FaultSettings()
        self._released = asyncio.Event()

    def set(self, changes: dict[str, Any]) -> None:
        """Change some switches. Raises: pydantic.ValidationError for an unknown name or a value out of range."""
        self.now = FaultSettings.model_validate({**self.now.model_dump(), **changes})

    def reset(self) -> None:
        """Back to a healthy portal; what hangs is answered."""
        self.now = FaultSettings()
        self._released.set()
        self._released = asyncio.Event()

    def take_failing_submit(self) -> bool:
        """Must the submission in hand be refused? Asking uses the switch up."""
        failing = self.now.fail_next_submit
        self.now.fail_next_submit = False
        return failing

    def take_failing_page(self) -> bool:
        """Must the page in hand fail? Asking uses one of them up."""
        failing = self.now.fail_next_pages > 0
        self.now.fail_next_pages = max(0, self.now.fail_next_pages - 1)
        return failing

    async def hold_submit(self) -> None:
        """Wait as the switches say, with the submission already counted: what the client can't know."""
        hanging = self.now.hang_next_submit
        self.now.hang_next_submit = False
        await asyncio.sleep(self.now.slow_submit_s)
        if hanging:
            released = self._released
            try:
                await asyncio.wait_for(released.wait(), HANG_S_MAX)
            except TimeoutError:
                return


router = APIRouter(prefix="/_demo", tags=["demo"])


@router.get("/submits")
def submits(request: Request, after: int = 0) -> dict[str, Any]:
    """Every submission numbered above `after`, and how often each registration and each reference was submitted."""
    store: Store = request.app.state.store
    found = store.submits(after)
    return {
        "total": len(found),
        "last": found[-1].number if found else after,
        "by_registration": _counted(submit.registration for submit in found),
        "by_reference": _counted(submit.reference for submit in found if submit.reference),
        "submits": [submit.as_json() for submit in found],
    }


@router.post("/reset")
@router.delete("/submits")
def reset(request: Request) -> dict[str, int]:
    """Forget every submission; sessions and faults stay."""
    store: Store = request.app.state.store
    return {"forgotten": store.forget_submits()}


@router.get("/faults")
async def read_faults(request: Request) -> FaultSettings:
    """The switches as they stand."""
    faults: Faults = request.app.state.faults
    return faults.now


@router.post("/faults")
async def set_faults(request: Request, settings: FaultSettings) -> FaultSettings:
    """Change the switches named in the body."""
    faults: Faults = request.app.state.faults
    faults.set(settings.model_dump(exclude_unset=True))
    return faults.now


@router.delete("/faults")
async def reset_faults(request: Request) -> FaultSettings:
    """Make the portal healthy again and answer what hangs."""
    faults: Faults = request.app.state.faults
    faults.reset()
    return faults.now


def _counted(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
