"""A small service for tests of the skeleton: run as a process of its own."""

from __future__ import annotations

import asyncio

from shared.runtime.service import Service, run
from shared.runtime.settings import ServiceSettings


class Sample(Service):
    """Takes a moment to stop, as work in hand does."""

    name = "sample"

    async def start(self) -> None:
        """Say so."""
        self.log.info("sample works")

    async def stop(self) -> None:
        """Finish what is in hand."""
        await asyncio.sleep(0.1)
        self.log.info("sample finished its work")


if __name__ == "__main__":
    run(Sample, ServiceSettings)
