"""Where mail goes, as the setting says it.

Called by: settings of services that send mail (check), shared/outbound/mail.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

Tls = Literal["from the start", "starttls", "no"]
_PORTS: dict[Tls, int] = {"from the start": 465, "starttls": 587, "no": 25}


@dataclass(frozen=True)
class MailServer:
    """Where mail goes, as REGENTE_SMTP_URL says: smtp[s]://[user:password@]host[:port][?starttls=no]."""

    host: str
    port: int
    tls: Tls
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, url: str) -> MailServer:
        """Read the setting.

        Raises: ValueError, without the password.
        """
        parts = urlsplit(url)
        starttls = parse_qs(parts.query).get("starttls", ["yes"])[-1]
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or starttls not in ("yes", "no"):
            raise ValueError(
                "it must look like smtp://user:password@host:587 or smtps://host; ?starttls=no is possible"
            )
        tls: Tls = "starttls" if starttls == "yes" else "no"
        if parts.scheme == "smtps":
            tls = "from the start"
        port = parts.port or _PORTS[tls]
        return cls(parts.hostname, port, tls, unquote(parts.username or ""), unquote(parts.password or ""))
