"""`python -m shared.runtime.probe`: whether the service in this container is well; the images' health check.

Asks /healthz on REGENTE_HTTP_PORT (REGENTE_STANDALONE_PORT where all services run in one go). Exit code 0: well; 1: it
is not, or does not answer; the line says why. Standard library only, so that it starts quickly. Change also:
deploy/images/Dockerfile.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 4.0


def main() -> int:
    """Ask once."""
    port = os.environ.get("REGENTE_STANDALONE_PORT") or os.environ.get("REGENTE_HTTP_PORT") or "8080"
    tls = os.environ.get("REGENTE_HTTP_TLS_CERT") and "REGENTE_STANDALONE_PORT" not in os.environ
    scheme = "https" if tls else "http"
    url = f"{scheme}://127.0.0.1:{port}/healthz"
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False  # its name is that of the installation, and this is the machine itself
    unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=unchecked if scheme == "https" else None) as answer:
            print(answer.read(2000).decode(errors="replace"))
            return 0 if answer.status == 200 else 1
    except urllib.error.HTTPError as error:
        print(f"{url} answers {error.code}: {error.read(2000).decode(errors='replace')}")
    except (OSError, ValueError) as error:
        print(f"{url} does not answer: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
