"""Silences as people write them on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.silence import FIELDS, matcher_of, seconds_of
from cli.errors import Usage
from shared.domain.silences import Matcher


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("5min", 300), ("1.5h", 5400), ("3d", 259_200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1w", "-1h", "1 h", "1h30m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(Usage, match="no time"):
        seconds_of(text)


@given(st.sampled_from(FIELDS), st.sampled_from(["=", "!=", "=~"]), st.text(max_size=50))
def test_matchers_are_read_as_they_are_written(field: str, sign: str, value: str) -> None:
    if sign == "=" and value.startswith("~"):
        return
    found = matcher_of(f"{field}{sign}{value}")
    assert Matcher.model_validate(found) == Matcher(
        field=field,  # type: ignore[arg-type]
        op={"=": "eq", "!=": "ne", "=~": "glob"}[sign],  # type: ignore[arg-type]
        value=value,
    )


@pytest.mark.parametrize("text", ["", "rule", "colour=red", "=x", "rule~x"])
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(Usage, match="no matcher"):
        matcher_of(text)
