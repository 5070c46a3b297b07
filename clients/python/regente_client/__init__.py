"""Regente for partners: push tasks, read results, verify webhooks. See README.md."""

from regente_client.aio import AsyncClient
from regente_client.client import Client
from regente_client.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NotAllowed,
    NotFound,
    RegenteError,
    ServiceUnavailable,
    TooManyRequests,
    WaitTimedOut,
    WebhookInvalid,
)
from regente_client.models import (
    Accepted,
    Batch,
    Endpoint,
    Evidence,
    File,
    Hold,
    NewTask,
    Page,
    Pushed,
    Rejected,
    Task,
    TaskError,
)
from regente_client.retry import RetryPolicy
from regente_client.webhooks import Event, new_secret, verify

__all__ = [
    "Accepted",
    "ApiError",
    "AsyncClient",
    "Batch",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Endpoint",
    "Event",
    "Evidence",
    "File",
    "Hold",
    "InvalidRequest",
    "NewTask",
    "NotAllowed",
    "NotFound",
    "Page",
    "Pushed",
    "RegenteError",
    "Rejected",
    "RetryPolicy",
    "ServiceUnavailable",
    "Task",
    "TaskError",
    "TooManyRequests",
    "WaitTimedOut",
    "WebhookInvalid",
    "new_secret",
    "verify",
]
