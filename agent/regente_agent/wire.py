"""The JSON that travels between the server and this robot, and the names of the queues and keys that it travels by.

Called by: engine, supervisor, amqp. Survives a crash: nothing lives here. Change also: the server's message models and
topology, which say the same; a test in the server's repository holds both together (additive changes only).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

EXCHANGE = "regente.workers"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
TIMEOUT_S_MAX = 3600.0
PAUSE_S_MAX = 600.0
TEXT_MAX = 4000

INSTRUCTION = "regente.worker.instruction.v1"
ABORT = "regente.worker.abort.v1"
RUN_ENDED = "regente.worker.run_ended.v1"
REPLY = "regente.worker.reply.v1"
HEARTBEAT = "regente.worker.heartbeat.v1"
LOG = "regente.worker.log.v1"

_RUN = re.compile(r"[A-Za-z0-9_-]{1,80}")
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NAME = re.compile(r"[a-z]+\.[a-z_]+")


class Malformed(Exception):
    """Bytes that are no message for this robot. What could be read of it is in `known` (run, seq, epoch, reply_to)."""

    def __init__(self, text: str, known: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(text)
        self.known = dict(known or {})


@dataclass(frozen=True)
class Instruction:
    """One instruction; its fields are the message's (see the server's worker_instruction)."""

    run: str
    seq: int
    epoch: int
    task: Optional[str]
    phase: str
    name: str
    args: Dict[str, Any] = field(repr=False)
    effect: str
    commit: bool
    timeout_s: float
    line: Optional[int]
    reply_to: str
    pause_s: float = 0.0
    """Before acting; counted in timeout_s."""
    find_s: Optional[float] = None
    """How long to wait for an element when the script does not say; none: as the driver does by itself."""
    blobs: Optional[Tuple[str, str]] = field(default=None, repr=False)
    """Base URL and bearer token for what is too large for a reply."""
    sealed: Optional[str] = field(default=None, repr=False)
    """Arguments that are still sealed; `args` is empty then."""

    def digest(self, key: bytes) -> str:
        """What tells this instruction from another one under the same (run, seq).

        Keyed, because arguments may hold secrets that a bare hash would let a reader of the journal guess.
        """
        facts = [self.run, self.seq, self.task, self.phase, self.name, self.args, self.effect, self.commit]
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Abort:
    """Cut the instruction in flight."""

    run: str
    epoch: int
    reason: str


@dataclass(frozen=True)
class RunEnded:
    """The run is over and stored: forget it."""

    run: str
    epoch: int


def instructions_queue(worker: str) -> str:
    """The queue that brings instructions, one active consumer."""
    return f"worker.{worker}.instructions"


def control_queue(worker: str) -> str:
    """The queue that brings aborts and ends of runs."""
    return f"worker.{worker}.control"


def reply_key(worker: str, executor: str) -> str:
    """Where a reply to that executor instance goes."""
    return f"reply.{worker}.{executor}"


def heartbeat_key(worker: str) -> str:
    """Where signs of life go."""
    return f"heartbeat.{worker}"


def log_key(worker: str) -> str:
    """Where log lines go."""
    return f"log.{worker}"


def encode(kind: str, body: Mapping[str, Any], sender: str) -> bytes:
    """A body in its envelope, as UTF-8 JSON."""
    envelope = {"kind": kind, "id": uuid7(), "sent_at": utc_now(), "sender": sender, "body": body}
    return json.dumps(envelope, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def parse_instruction(data: bytes, worker: str) -> Instruction:
    """Read an instruction for this robot.

    Raises: Malformed, with whatever of run, seq, epoch and reply_to was readable.
    """
    body = _body(data, (INSTRUCTION,))[1]
    known = _readable(body)
    try:
        if body.get("worker") != worker:
            raise Malformed(f"the instruction is for robot {str(body.get('worker'))[:40]!r}, this is {worker}")
        return Instruction(
            run=_text(body, "run", _RUN),
            seq=_count(body, "seq"),
            epoch=_count(body, "epoch"),
            task=_optional(body, "task", str),
            phase=_one_of(body, "phase", ("setup", "task", "teardown")),
            name=_text(body, "name", _NAME),
            args=_args(body.get("args")),
            effect=_one_of(body, "effect", ("read", "act")),
            commit=bool(_optional(body, "commit", bool)),
            timeout_s=_seconds(body, "timeout_s"),
            line=_optional(body, "line", int),
            reply_to=_text(body, "reply_to", _INSTANCE),
            pause_s=_optional_seconds(body, "pause_s", 0.0, PAUSE_S_MAX) or 0.0,
            find_s=_optional_seconds(body, "find_s", 0.001, TIMEOUT_S_MAX),
            blobs=_blobs(body.get("blobs")),
            sealed=_optional(body, "sealed", str),
        )
    except Malformed as error:
        raise Malformed(str(error), known) from error


def parse_control(data: bytes, worker: str) -> Union[Abort, RunEnded]:
    """Read a control message for this robot.

    Raises: Malformed.
    """
    kind, body = _body(data, (ABORT, RUN_ENDED))
    if body.get("worker") != worker:
        raise Malformed(f"the message is for robot {str(body.get('worker'))[:40]!r}, this is {worker}")
    run, epoch = _text(body, "run", _RUN), _count(body, "epoch")
    if kind == RUN_ENDED:
        return RunEnded(run, epoch)
    return Abort(run, epoch, str(body.get("reason", ""))[:500])


def utc_now() -> str:
    """This machine's clock in ISO 8601, for people."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def uuid7() -> str:
    """A message id: UUID version 7 in hex (RFC 9562)."""
    random = int.from_bytes(os.urandom(10), "big")
    value = int(time.time() * 1000) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return f"{value:032x}"


def certificate_of(value: Any) -> Optional[Tuple[bytes, str, Tuple[str, ...]]]:
    """PKCS#12 bytes, passphrase and origins of a certificate argument; None when it is none."""
    inner = value.get("$certificate") if isinstance(value, dict) else None
    if not isinstance(inner, dict):
        return None
    origins, passphrase = inner.get("origins"), inner.get("passphrase", "")
    if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
        return None
    if not isinstance(inner.get("pkcs12"), str) or not isinstance(passphrase, str):
        return None
    try:
        return base64.b64decode(inner["pkcs12"], validate=True), passphrase, tuple(origins)
    except (binascii.Error, ValueError):
        return None


def _body(data: bytes, kinds: Tuple[str, ...]) -> Tuple[str, Dict[str, Any]]:
    if len(data) > MESSAGE_BYTES_MAX:
        raise Malformed(f"{len(data)} bytes are over the limit of {MESSAGE_BYTES_MAX}")
    try:
        envelope = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("the message is no JSON") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("body"), dict):
        raise Malformed("the message has no envelope with a body")
    if envelope.get("kind") not in kinds:
        raise Malformed(f"unknown kind {str(envelope.get('kind'))[:80]!r}", _readable(envelope["body"]))
    return str(envelope["kind"]), envelope["body"]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _readable(body: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields that a refusal needs, as far as they are right."""
    readers: Dict[str, Callable[[], Any]] = {
        "run": lambda: _text(body, "run", _RUN),
        "seq": lambda: _count(body, "seq"),
        "epoch": lambda: _count(body, "epoch"),
        "reply_to": lambda: _text(body, "reply_to", _INSTANCE),
    }
    known = {}
    for name, read in readers.items():
        try:
            known[name] = read()
        except Malformed:
            continue
    return known


def _text(body: Mapping[str, Any], name: str, pattern: "re.Pattern[str]") -> str:
    value = body.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Malformed(f"{name} is missing or not of the form {pattern.pattern}")
    return value


def _count(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 53:
        raise Malformed(f"{name} must be a whole number from 1")
    return value


def _seconds(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= TIMEOUT_S_MAX:
        raise Malformed(f"{name} must be a number over 0, at most {TIMEOUT_S_MAX:g}")
    return float(value)


def _optional_seconds(body: Mapping[str, Any], name: str, least: float, most: float) -> Optional[float]:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise Malformed(f"{name} must be a number from {least:g} to {most:g}, or absent")
    return float(value)


def _one_of(body: Mapping[str, Any], name: str, allowed: Tuple[str, ...]) -> str:
    value = body.get(name)
    if value not in allowed:
        raise Malformed(f"{name} must be one of {', '.join(allowed)}")
    return str(value)


def _optional(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise Malformed(f"{name} must be of type {kind.__name__} or absent")
    return value


def _args(value: Any) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("args must be an object")
    return value


def _blobs(value: Any) -> Optional[Tuple[str, str]]:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("url", "token")):
        raise Malformed("blobs must hold url and token")
    if not value["url"].startswith(("http://", "https://")):
        raise Malformed("blobs.url must begin with http:// or https://")
    return value["url"].rstrip("/"), value["token"]
