"""Lines out of pieces: however a stream is cut, the lines are those of the whole."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from services.collector.core.lines import Line, Lines

SIZE_MAX = 8

texts = st.lists(st.sampled_from([b"a", b"{}", b" ", b"\r", b"\n", b"\n\n", b"12345678", b"123456789"]), max_size=30)


def model(data: bytes) -> list[Line]:
    """The lines of a whole text, one after the other."""
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) > SIZE_MAX:
            found.append(Line(number, None))
        elif line.strip(b" \t\r"):
            found.append(Line(number, line.strip(b" \t\r")))
    return found


@given(texts, st.lists(st.integers(0, 12), max_size=20))
@example([b"123456789"], [8])
def test_however_a_stream_is_cut_its_lines_are_the_same(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    lines, found, rest = Lines(SIZE_MAX), [], data
    for cut in cuts:
        found += lines.feed(rest[:cut])
        rest = rest[cut:]
    found += lines.feed(rest)
    found += lines.end()
    assert found == model(data)


def test_a_line_that_never_ends_takes_no_memory() -> None:
    lines = Lines(SIZE_MAX)
    for _ in range(1000):
        assert lines.feed(b"x" * 1000) == []
    assert len(lines._rest) <= SIZE_MAX
    assert lines.feed(b"\nok") == [Line(1, None)]
    assert lines.end() == [Line(2, b"ok")]
