"""How supervisor and driver speak over the driver's pipes: four bytes of length (big-endian), then JSON.

Called by: driver_process (supervisor's end), driver (its own end). Survives a crash: a broken frame means that the
other side is gone. Change also: both ends come from one release, so there is no version.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any, Dict, Mapping, Optional

FRAME_BYTES_MAX = 16 * 1024 * 1024


class BrokenFrame(Exception):
    """The other side sent what is no frame, or ended in the middle of one."""


def encode(frame: Mapping[str, Any]) -> bytes:
    """A frame as bytes."""
    data = json.dumps(frame).encode("ascii")
    return struct.pack(">I", len(data)) + data


def write(stream: IO[bytes], frame: Mapping[str, Any]) -> None:
    """Send one frame.

    Raises: OSError when the other side is gone.
    """
    stream.write(encode(frame))
    stream.flush()


def read(stream: IO[bytes]) -> Optional[Dict[str, Any]]:
    """Wait for one frame; None at the end of the stream.

    Raises: BrokenFrame.
    """
    head = stream.read(4)
    if not head:
        return None
    size = struct.unpack(">I", head)[0] if len(head) == 4 else FRAME_BYTES_MAX + 1
    if size > FRAME_BYTES_MAX:
        raise BrokenFrame("a frame without a length that can be")
    data = stream.read(size)
    if len(data) < size:
        raise BrokenFrame("the stream ended within a frame")
    frame = json.loads(data.decode("ascii"))
    if not isinstance(frame, dict):
        raise BrokenFrame("a frame is an object")
    return frame
