"""Results by mail, as attachments, through the installation's mail server.

Called by: sender.py. Survives a crash: nothing here; a delivery's Message-ID is the same at every attempt, so a server
or reader can tell a repeat. When the server does not say whether it took a mail, it is sent again by the schedule.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.delivery.core.outcome import Answer, attempt_record
from services.delivery.parcels import Parcel, Parcels, Proof, Unusable
from shared.domain.endpoint_options import MAIL, MailSettings, complaints
from shared.domain.letter import ATTACHMENTS_MAX, Attachment, letter
from shared.domain.mail_server import MailServer
from shared.obs.clock import monotonic_s, now
from shared.outbound.mail import Courier, NotSent
from shared.texts import catalogue

TAKEN = 250
"""Status of a mail that was taken: the server's own code."""
ATTACHED_SIZE_BYTES_MAX = 7_000_000
"""Of all attachments: base64 makes a third more of them."""
LINES_MAX = 50
_LOCALE = Path(__file__).parent.parent / "locale"


class Mail:
    """Sends results."""

    def __init__(
        self, parcels: Parcels, server: MailServer | None, sender: str, tls: ssl.SSLContext, *, timeout_s: float
    ):
        """server: none when no mail can be sent from here. Raises: ValueError for a sender that is no address."""
        self._parcels = parcels
        self._courier = Courier(server, sender, tls) if server is not None else None
        self._timeout_s = timeout_s

    async def attempt(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Send the delivery once."""
        at, began, said = now(), monotonic_s(), ""
        try:
            async with asyncio.timeout(self._timeout_s):
                said = await self._send(endpoint, delivery)
            answer = Answer(TAKEN)
        except TimeoutError:
            answer = Answer(None, f"not sent within {self._timeout_s:g} s")
        except NotSent as error:
            answer = Answer(None, error.message)
        except (Unusable, ValueError) as error:
            answer = Answer(None, f"not sent: {str(error).splitlines()[0]}")
        return answer, attempt_record(answer, at=at, duration_s=monotonic_s() - began, text=said)

    def problem(self, fields: Mapping[str, Any]) -> list[dict[str, str]]:
        """What is wrong with an endpoint's settings."""
        if self._courier is None:
            return [{"path": "/kind", "message": "no mail server is set for this installation (REGENTE_SMTP_URL)"}]
        return complaints(MAIL, fields.get("options"))

    def close(self) -> None:
        """Nothing is held."""

    async def _send(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> str:
        if self._courier is None:
            raise Unusable("no mail server is set for this installation (REGENTE_SMTP_URL)")
        settings = MailSettings.model_validate(endpoint.get("options") or {})
        parcel = await self._parcels.of(settings, delivery)
        if len(parcel.data) > ATTACHED_SIZE_BYTES_MAX:
            raise Unusable(f"a file of {len(parcel.data)} bytes; at most {ATTACHED_SIZE_BYTES_MAX} go by mail")
        attached, left_out = await self._attachments(parcel)
        identity = f"<{delivery['webhook_id']}@{self._courier.sender.rpartition('@')[2]}>"
        data = letter(
            sender=self._courier.sender,
            recipients=settings.to,
            subject=subject(settings, parcel.bodies),
            text=text(settings, parcel, left_out),
            html=None,
            attachments=attached,
            identity=identity,
            at=delivery["created_at"],
        )
        await self._courier.send(settings.to, data, timeout_s=self._timeout_s)
        return identity

    async def _attachments(self, parcel: Parcel) -> tuple[list[Attachment], list[Proof]]:
        """The result and as much of the evidence as fits; what does not stays a link in the result."""
        attached = [Attachment(parcel.name, parcel.media_type, parcel.data)]
        size, left_out = len(parcel.data), []
        for proof in parcel.proofs:
            fits = len(attached) < ATTACHMENTS_MAX and size + proof.size_bytes <= ATTACHED_SIZE_BYTES_MAX
            data = await self._parcels.bytes_of(proof) if fits else None
            if data is None or size + len(data) > ATTACHED_SIZE_BYTES_MAX:
                left_out.append(proof)
                continue
            attached.append(Attachment(proof.name, proof.media_type, data))
            size += len(data)
        return attached, left_out


def subject(settings: MailSettings, bodies: Sequence[Mapping[str, Any]]) -> str:
    """The subject: the endpoint's, or ours in its language."""
    _ = translate(settings.language)
    one = len(bodies) == 1
    ours = _("{reference}: {event}") if one else _("{count} results")
    data = bodies[0]["data"]
    values = {
        "reference": str(data.get("reference")) if one else "",
        "workflow": str(data.get("workflow")) if one else "",
        "event": word(settings.language, bodies[0]) if one else "",
        "count": str(len(bodies)),
    }
    made = settings.subject or ours
    for name, value in values.items():
        made = made.replace(f"{{{name}}}", value)
    return " ".join("".join(char if char.isprintable() else " " for char in made).split())[:500]


def text(settings: MailSettings, parcel: Parcel, left_out: Sequence[Proof]) -> str:
    """What the mail says: what is attached, and what is not."""
    _ = translate(settings.language)
    lines = [_("The attached file holds these results:"), ""]
    for body in parcel.bodies[:LINES_MAX]:
        data = body["data"]
        lines.append(f"- {data.get('workflow')} / {data.get('reference')}: {word(settings.language, body)}")
    if len(parcel.bodies) > LINES_MAX:
        lines.append(_("- and {count} more").replace("{count}", str(len(parcel.bodies) - LINES_MAX)))
    if left_out:
        what = _("Too large for a mail, see the links in the file: {names}")
        lines += ["", what.replace("{names}", ", ".join(proof.name for proof in left_out[:LINES_MAX]))]
    return "\n".join([*lines, "", _("This mail was sent automatically.")]) + "\n"


def word(language: str, body: Mapping[str, Any]) -> str:
    """An event in the words of a language."""
    _ = translate(language)
    words = {
        "succeeded": _("succeeded"),
        "failed": _("failed"),
        "held": _("held"),
        "cancelled": _("cancelled"),
        "expired": _("expired"),
    }
    name = str(body.get("type")).removeprefix("task.")
    return words.get(name, name)


def translate(language: str) -> Callable[[str], str]:
    """The function `_` of a language."""
    return catalogue(_LOCALE / language / "delivery.po").gettext
