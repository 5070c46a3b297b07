"""A small service for tests of the skeleton: run as a process of its own."""

from __future__ import annotations

import asyncio
import os
import time

from shared.runtime.service import Service, run
from shared.runtime.settings import ServiceSettings
from shared.runtime.sweeper import Sweeper


class Sample(Service):
    """Takes a moment to stop, as work in hand does."""

    name = "sample"

    async def start(self) -> None:
        """Say so; where a test wants it, with loops that hang once the file named is there."""
        self.log.info("sample works")
        waits, blocks = os.environ.get("SAMPLE_WAITS", ""), os.environ.get("SAMPLE_BLOCKS", "")

        async def wait_for_ever() -> None:
            while os.path.exists(waits):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        async def block_everything() -> None:
            while os.path.exists(blocks):
                time.sleep(0.05)  # noqa: ASYNC251

        for name, fn in (("sample.waits", wait_for_ever), ("sample.blocks", block_everything)):
            await Sweeper(name, 0.1, fn, self.log).start()

    async def stop(self) -> None:
        """Finish what is in hand."""
        await asyncio.sleep(0.1)
        self.log.info("sample finished its work")


if __name__ == "__main__":
    run(Sample, ServiceSettings)
