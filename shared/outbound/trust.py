"""Whom this installation believes: the machine's authorities, and those of a file of its own.

Called by: shared.broker, shared.mongo, shared.outbound, services (calls between them), cli. Certificates are always
checked, with the server's name. Change also: docs/security.md.
"""

from __future__ import annotations

import ssl


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """For connections that this side opens, at least TLS 1.2.

    ca_file: PEM file of authorities besides the machine's. Raises: OSError, ssl.SSLError for a file that can't be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
