"""One SSH connection to another system: to an address that was checked, with a host key that is known.

Called by: delivery (files to partners), collector (files from partners). Survives a crash: nothing. The connection
goes to the address that the resolver checked; nothing of the machine's own SSH set-up (configuration, agent, keys,
known hosts) takes part. Change also: nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncssh

from shared.outbound.errors import Broken, Refused
from shared.outbound.resolver import Resolver

KEY_HEAD = "-----BEGIN "
HOST_KEYS_MAX = 5
CONNECT_S = 10.0


@dataclass(frozen=True)
class Login:
    """Who logs in, and by what: a password, or a private key (PEM or OpenSSH)."""

    user: str
    secret: str = field(repr=False)

    @property
    def is_key(self) -> bool:
        """Whether the secret is a private key."""
        return self.secret.lstrip().startswith(KEY_HEAD)


def host_keys(text: str) -> list[asyncssh.SSHKey]:
    """The public keys of a server, one a line, as `ssh-keyscan` and the .pub files write them.

    Raises: ValueError.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not 1 <= len(lines) <= HOST_KEYS_MAX:
        raise ValueError(f"1 to {HOST_KEYS_MAX} public keys of the server, one a line: ssh-ed25519 AAAA...")
    return [_host_key(line) for line in lines]


def _host_key(line: str) -> asyncssh.SSHKey:
    words = line.split()
    known_hosts_line = len(words) > 2 and not words[0].startswith(("ssh-", "ecdsa-", "sk-"))
    try:
        return asyncssh.import_public_key(" ".join(words[1:] if known_hosts_line else words))
    except (asyncssh.KeyImportError, ValueError):
        raise ValueError(
            "this is no public key of a server; `ssh-keyscan HOST` prints it: ssh-ed25519 AAAA..."
        ) from None


@asynccontextmanager
async def ssh(
    resolver: Resolver, host: str, port: int, login: Login, host_key: str, *, connect_s: float = CONNECT_S
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection that is closed at the end. host_key: the server's public keys, see `host_keys`.

    Raises: Refused (no address, one that is not allowed, an unusable key), Broken.
    """
    try:
        known = host_keys(host_key)
        keys = [asyncssh.import_private_key(login.secret)] if login.is_key else None
    except ValueError as error:
        raise Refused("BAD_ARGUMENT", str(error)) from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        raise Refused("BAD_ARGUMENT", "the private key can't be read; it must be one without a passphrase") from None
    connection = await _connected(await resolver.addresses(host, port), port, login, keys, known, connect_s)
    try:
        yield connection
    finally:
        connection.abort()


async def _connected(
    addresses: list[str],
    port: int,
    login: Login,
    keys: list[asyncssh.SSHKey] | None,
    known: list[asyncssh.SSHKey],
    connect_s: float,
) -> asyncssh.SSHClientConnection:
    """To the first address that takes a connection."""
    broken = Broken("it takes no connection", sent=False)
    for address in addresses:
        try:
            async with asyncio.timeout(connect_s):
                return await asyncssh.connect(
                    address,
                    port,
                    username=login.user,
                    password=None if login.is_key else login.secret,
                    client_keys=keys,
                    known_hosts=(known, [], []),
                    config=None,
                    agent_path=None,
                    preferred_auth="publickey" if login.is_key else "password,keyboard-interactive",
                    compression_algs=None,
                )
        except (OSError, TimeoutError) as error:
            broken = Broken("it takes no connection", sent=False, timeout=isinstance(error, TimeoutError))
        except asyncssh.HostKeyNotVerifiable:
            raise Refused("NOT_ALLOWED", "its host key is not the one in the settings; nothing was sent") from None
        except asyncssh.PermissionDenied:
            raise Refused("NOT_ALLOWED", "it refuses our log-in") from None
        except asyncssh.Error as error:
            broken = Broken(f"the SSH connection fails: {type(error).__name__}", sent=False)
    raise broken
