"""What is generated in the papers is what the code says."""

from __future__ import annotations

from docs.generate import ROOT, generated


def test_generated_papers_are_current() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generated().items()
        if not path.exists() or path.read_text() != text
    ]
    assert not stale, f"stale: {stale}; run `make docs`"
