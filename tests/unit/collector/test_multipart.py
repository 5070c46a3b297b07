"""The file in a form, however the form is cut into pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.multipart import BadForm, FilePart

TYPE = "multipart/form-data; boundary=edge"


def form(*parts: tuple[str, bytes], end: bytes = b"--edge--\r\n") -> bytes:
    """A form: each part's Content-Disposition parameters and content."""
    text = b""
    for parameters, content in parts:
        head = f"--edge\r\nContent-Disposition: form-data; {parameters}\r\nContent-Type: text/plain\r\n\r\n"
        text += head.encode() + content + b"\r\n"
    return text + end


async def read(data: bytes, size: int = 7, content_type: str = TYPE) -> tuple[str | None, str | None, bytes]:
    """Name, type and content of the file in a form that comes in pieces of `size` bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    part = FilePart(content_type, pieces())
    await part.begin()
    content = b"".join([chunk async for chunk in part.chunks()])
    return part.name, part.media_type, content


@given(st.binary(max_size=200).filter(lambda content: b"\r\n--edge" not in content), st.integers(1, 60))
async def test_the_file_comes_out_as_it_went_in(content: bytes, size: int) -> None:
    data = form(('name="note"', b"x"), ('name="file"; filename="a b.txt"', content), ('name="more"', b"y"))
    assert await read(data, size) == ("a b.txt", "text/plain", content)


async def test_names_beyond_ascii() -> None:
    plain = form(('name="file"; filename="certidão.pdf"', b"1"))
    assert (await read(plain))[0] == "certidão.pdf"
    extended = form(("name=\"file\"; filename*=UTF-8''certid%C3%A3o.pdf", b"1"))
    assert (await read(extended))[0] == "certidão.pdf"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (form(('name="a"', b"1")), TYPE),
        (form(('name="a"; filename="a"', b"1"), ('name="b"; filename="b"', b"2")), TYPE),
        (form(('name="a"; filename="a"', b"1"), end=b""), TYPE),
        (b"no form at all", TYPE),
        (b"", TYPE),
        (form(('name="a"; filename="a"', b"1")), "multipart/form-data"),
        (form((f'name="{"x" * 9000}"; filename="a"', b"1")), TYPE),
    ],
    ids=["no file", "two files", "cut", "broken", "empty", "no boundary", "long header"],
)
async def test_what_is_no_form_with_one_file_is_refused(data: bytes, content_type: str) -> None:
    with pytest.raises(BadForm):
        await read(data, content_type=content_type)
