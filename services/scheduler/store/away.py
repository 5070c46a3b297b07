"""The driver's errors as ours: a database that is away is a TemporaryError, whichever query met it.

Called by: handlers.py and api.py, around everything that they do. Sweepers tell these errors apart by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import TemporaryError
from shared.mongo import first_line
from shared.mongo.guarded import is_transient


@contextmanager
def database_errors() -> Iterator[None]:
    """Raises: TemporaryError for errors of transport; others come through."""
    try:
        yield
    except Exception as error:
        if is_transient(error):
            raise TemporaryError(f"the database does not answer: {first_line(error)}") from error
        raise
