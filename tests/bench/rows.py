"""What a bench gives: rows of figures, each with what it stands beside and the bar that it has to keep under.

Called by: every bench (makes rows), __main__.py (prints and stores them). A row without a bar is there to be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float
    unit: str
    beside: str | None = None
    """What it stands next to, with its own figure."""
    ratio: float | None = None
    """It, divided by what it stands next to."""
    bar: float | None = None
    """The ratio has to be below; none: nothing is promised."""

    @property
    def holds(self) -> bool | None:
        """Whether the promise is kept; none: there is none."""
        return None if self.bar is None or self.ratio is None else self.ratio < self.bar

    def line(self, bench: str) -> str:
        """As one line of bench.json."""
        return json.dumps({**asdict(self), "holds": self.holds, "bench": bench}, ensure_ascii=False)


def compared(
    name: str, times_s: Sequence[float], beside: str, beside_s: Sequence[float], bar: float | None
) -> list[Row]:
    """Median (against the bar) and 95th percentile of times, beside those of something else."""
    rows = []
    for what, figure, limit in (("median", median, bar), ("p95", p95, None)):
        mine_ms, other_ms = 1000 * figure(times_s), 1000 * figure(beside_s)
        said = f"{beside}: {other_ms:.2f} ms"
        rows.append(
            Row(f"{name}, {what} of {len(times_s)}", round(mine_ms, 3), "ms", said, round(mine_ms / other_ms, 3), limit)
        )
    return rows


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def table(rows: Sequence[Row]) -> str:
    """Rows for people."""
    heads = ("figure", "value", "beside", "ratio", "bar", "")
    cells = [
        (
            row.name, f"{row.value:g} {row.unit}", row.beside or "", "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.bar is None else f"< {row.bar:g}", {True: "holds", False: "MISSED", None: ""}[row.holds],
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[n]) for line in (heads, *cells)) for n in range(len(heads))]
    lines = [heads, tuple("-" * width for width in widths), *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def store(path: Path, bench: str, rows: Iterable[Row]) -> None:
    """Write the rows of one bench to bench.json; those of other benches stay."""
    kept = []
    if path.exists():
        kept = [
            line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line).get("bench") != bench
        ]
    new = path.with_name(f"{path.name}.new")
    new.write_text("\n".join([*kept, *(row.line(bench) for row in rows)]) + "\n", encoding="utf-8")
    new.rename(path)
