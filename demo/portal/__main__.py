"""`python -m demo.portal`: start the demo's tax portal over TLS and stay until SIGTERM.

Owns: the process. Called by: the local stack's launcher, tests. Survives a crash: see store.py and pki.py.
Change also: demo/processes.py, which starts this.
"""

from __future__ import annotations

import ssl
import sys
from datetime import UTC, datetime

import uvicorn
from pydantic import ValidationError

from demo.portal.app import make_app
from demo.portal.config import PortalSettings
from demo.portal.pki import ensure_pki
from demo.portal.tls import ClientCertificateProtocol

STOP_S = 3


def main() -> int:
    """Run the portal; returns the exit code."""
    try:
        settings = PortalSettings()
    except ValidationError as error:
        print(f"portal: a setting is wrong: {error}", file=sys.stderr)
        return 2
    ensure_pki(settings.pki_folder, datetime.now(UTC))
    server = uvicorn.Server(configure(settings))
    server.run()
    return 0 if server.started else 1


def configure(settings: PortalSettings) -> uvicorn.Config:
    """uvicorn's configuration: a client certificate is asked for, and one of another authority is refused."""
    return uvicorn.Config(
        make_app(settings.database),
        host=settings.portal_host,
        port=settings.portal_port,
        loop="asyncio",
        http=ClientCertificateProtocol,
        ws="none",
        ssl_certfile=settings.pki_folder / "server.pem",
        ssl_ca_certs=str(settings.pki_folder / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
        timeout_graceful_shutdown=STOP_S,
        log_level="info",
    )


if __name__ == "__main__":
    sys.exit(main())
