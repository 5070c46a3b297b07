"""`python -m tests.bench [NAME ...]`: measures, prints a table, writes bench.json into the installation's folder.

A bench is a module of this folder with `async def rows(ground) -> list[Row]`, named in BENCHES; with BROKER = True it
gets a broker too. Exit code: 0 all bars
hold, 1 one does not, 2 there is no such bench.
"""

from __future__ import annotations

import asyncio
import importlib
import sys

from deploy.local.settings import read_settings
from shared.obs import logs
from tests.bench.ground import prepared
from tests.bench.rows import Row, store, table

BENCHES = ("dispatch", "intake", "long_run", "parked")


def main(names: list[str]) -> int:
    """Run the benches named, or all."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"there is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    logs.setup("bench", "bench", "WARNING")
    path = read_settings().home / "bench.json"
    found: list[Row] = []
    for name in names or BENCHES:
        bench = importlib.import_module(f"tests.bench.{name}")
        with prepared(broker=getattr(bench, "BROKER", False)) as ground:
            rows = asyncio.run(bench.rows(ground))
        store(path, name, rows)
        found += rows
    print(f"\n{table(found)}\n\nwritten to {path}")
    return 0 if all(row.holds is not False for row in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
