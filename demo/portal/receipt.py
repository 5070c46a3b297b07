"""The PDF receipt of a submission, written by hand: one page, two standard fonts, no library.

Owns: the bytes. Called by: demo.portal.pages. Survives a crash: the same submission always gives the same bytes.
Change also: tests/demo/test_receipt.py. The format is ISO 32000-1 (PDF 1.4 subset): header, numbered objects, a
cross-reference table with each object's offset in exactly 20 bytes, a trailer that says where the table begins.
"""

from __future__ import annotations

A4_POINTS = (595, 842)
MARGIN_POINTS = 64
_HEAD = (14, 4, 60)
"""Red, green and blue of the letterhead, in percent."""


def receipt(title: str, lines: list[tuple[str, str]], footer: str) -> bytes:
    """A one-page PDF: a letterhead with the title, one row for each (label, value), and a footer."""
    return _document(_page(title, lines, footer))


def _page(title: str, lines: list[tuple[str, str]], footer: str) -> bytes:
    width, height = A4_POINTS
    red, green, blue = (part / 100 for part in _HEAD)
    parts = [f"{red} {green} {blue} rg 0 {height - 96} {width} 96 re f", "1 1 1 rg"]
    parts.append(_text("F2", 20, MARGIN_POINTS, height - 48, "Aurora Revenue Service"))
    parts.append(_text("F1", 11, MARGIN_POINTS, height - 70, "Electronic certificates"))
    parts.append("0.1 0.1 0.12 rg")
    parts.append(_text("F2", 16, MARGIN_POINTS, height - 150, title))
    top = height - 196
    for number, (label, value) in enumerate(lines):
        y = top - 28 * number
        parts.append(_text("F1", 10, MARGIN_POINTS, y, label))
        parts.append(_text("F2", 12, MARGIN_POINTS + 150, y, value))
        parts.append(f"0.85 0.86 0.88 RG 0.6 w {MARGIN_POINTS} {y - 9} m {width - MARGIN_POINTS} {y - 9} l S")
    parts.append("0.4 0.42 0.45 rg")
    parts.append(_text("F1", 9, MARGIN_POINTS, 64, footer))
    return "\n".join(parts).encode("ascii")


def _text(font: str, size: int, x: int, y: int, text: str) -> str:
    # WinAnsiEncoding, written as octal escapes where a byte isn't plain, so the content stream stays ASCII.
    encoded = text.encode("cp1252", errors="replace")
    shown = "".join(chr(b) if 32 <= b < 127 and b not in b"()\\" else f"\\{b:03o}" for b in encoded)
    return f"BT /{font} {size} Tf {x} {y} Td ({shown}) Tj ET"


def _document(content: bytes) -> bytes:
    width, height = A4_POINTS
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R "
            "/Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>"
        ).encode("ascii"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        font.format("Helvetica").encode("ascii"),
        font.format("Helvetica-Bold").encode("ascii"),
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)
