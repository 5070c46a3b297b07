"""What the broker must hold for the robots, and what differs: users, permissions and queues.

Called by: rights.py. Everything follows from `workers`, so a broker that was wiped is rebuilt without asking anybody.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WORKER_USER = re.compile(r"^worker\.([0-9a-f]{12})$")
WORKER_QUEUE = re.compile(r"^worker\.([0-9a-f]{12})\.(?:instructions|control)$")


@dataclass(frozen=True)
class Found:
    """What the broker holds now."""

    users: Mapping[str, str]
    """Password hash by user name, all users."""
    here: frozenset[str]
    """Users that have any permission in this virtual host; those of other hosts are nobody's business here."""
    permitted: frozenset[str]
    """Users whose permissions and topic permissions are as they should be."""
    queues: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """What to do at the broker, by robot."""

    grant: tuple[str, ...]
    """Users to write, with permissions (new, with another password, or with other permissions)."""
    declare: tuple[str, ...]
    """Robots whose queues are missing."""
    revoke: tuple[str, ...]
    """Users to delete, with their connections."""
    drop: tuple[str, ...]
    """Robots that may not work and still have queues."""

    @property
    def empty(self) -> bool:
        """Whether the broker is as it should be."""
        return not (self.grant or self.declare or self.revoke or self.drop)


def plan(passwords: Mapping[str, str], found: Found, queues_of: Mapping[str, Iterable[str]]) -> Plan:
    """What differs.

    passwords: of each authorised robot, by id; queues_of: names of the queues that each of them has.
    """
    users = {match[1]: name for name in found.users if (match := WORKER_USER.match(name))}
    here = {match[1] for name in found.here if (match := WORKER_USER.match(name))}
    grant = [
        worker
        for worker, password in passwords.items()
        if worker not in users
        or users[worker] not in found.permitted
        or not password_matches(password, found.users[users[worker]])
    ]
    stray = {match[1] for name in found.queues if (match := WORKER_QUEUE.match(name))} - set(passwords)
    return Plan(
        grant=tuple(sorted(grant)),
        declare=tuple(sorted(w for w in passwords if not set(queues_of[w]) <= found.queues)),
        revoke=tuple(sorted(worker for worker in here if worker not in passwords)),
        drop=tuple(sorted(stray)),
    )


def password_matches(password: str, stored: str) -> bool:
    """Whether RabbitMQ's `password_hash` is of this password: base64 of a 4-byte salt and SHA-256 of salt and password.

    https://www.rabbitmq.com/docs/passwords#computing-password-hash
    """
    try:
        data = base64.b64decode(stored, validate=True)
    except (binascii.Error, ValueError):
        return False
    salt, digest = data[:4], data[4:]
    return hmac.compare_digest(hashlib.sha256(salt + password.encode()).digest(), digest)
