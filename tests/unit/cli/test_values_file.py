"""Files of settings are read as they look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import Usage
from cli.values_file import read_values


def test_times_and_dates_stay_texts(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(
        "start: 10:00\nend: 08:30\ndate: 2026-12-25\nat: 2027-01-31T22:00:00-03:00\nzip: 0123\n"
        "n: 12\nminus: -3\nshare: 1.5\nyes: true\nnone: null\nlist: [1, 24:00]\n"
    )
    assert read_values(str(file)) == {
        "start": "10:00",
        "end": "08:30",
        "date": "2026-12-25",
        "at": "2027-01-31T22:00:00-03:00",
        "zip": "0123",
        "n": 12,
        "minus": -3,
        "share": 1.5,
        True: True,
        "none": None,
        "list": [1, "24:00"],
    }


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc é", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab", min_size=1, max_size=4), _values, max_size=4))
def test_json_is_read_as_json(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    file = tmp_path_factory.mktemp("values") / "f.json"
    file.write_text(json.dumps(values, ensure_ascii=False))
    assert read_values(str(file)) == values


@pytest.mark.parametrize("data", [b"- a\n", b"a: [\n", b"\xff\xfe\x00", b"", b"a: !!python/object:os.system x\n"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(data)
    with pytest.raises(Usage):
        read_values(str(file))
    with pytest.raises(Usage, match="can't be read"):
        read_values(str(tmp_path / "missing"))
