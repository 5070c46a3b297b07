"""An endpoint as people write it: over the partners' API, the console's API, and the command line.

Called by: delivery and console (bodies of PUT). Change also: docs/webhooks.md, shared/domain/endpoint.py (who signs),
services/delivery/core (reads the stored form: the same names, durations in seconds).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.contracts.parts import Part

WAITS_MAX = 50
WAIT_S_MAX = 7 * 86400
INLINE_SIZE_BYTES_MAX = 4 * 1024 * 1024
OVERLAP_S_MAX = 7 * 86400
OVERLAP_S = 86400

Event = Literal["succeeded", "failed", "held", "cancelled", "expired", "decision"]
Kind = Literal["webhook", "mail", "sftp", "folder"]


def _ordered(items: list[Any] | None) -> list[Any] | None:
    return list(dict.fromkeys(items)) if items is not None else None


class EndpointFields(Part):
    """How partners are told; what is left out has its default."""

    kind: Kind = Field(default="webhook", description="How it is told.")
    url: str | None = Field(default=None, max_length=2000, description="Of a webhook: https:// (or http://) address.")
    events: Annotated[list[Event] | None, AfterValidator(_ordered)] = Field(
        default=None, max_length=6, description="Which events; null: the workflow's."
    )
    signatures: Annotated[list[Literal["v1", "v1a"]], AfterValidator(_ordered)] = Field(
        default=["v1"], min_length=1, max_length=2, description="v1: HMAC-SHA256; v1a: ed25519."
    )
    schedule_s: list[Annotated[float, Field(ge=0, le=WAIT_S_MAX)]] | None = Field(
        default=None, max_length=WAITS_MAX - 1, description="Waits after failed attempts; null: the installation's."
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=64, description="Attempts at once, per delivery process; null: the installation's."
    )
    breaker_failures: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Failures in a row that open its circuit; 0: never.",
    )
    evidence: Literal["links", "inline"] = Field(
        default="links", description="Links that need no key, or the bytes in base64 besides them."
    )
    inline_size_bytes_max: int = Field(
        default=1024 * 1024, ge=0, le=INLINE_SIZE_BYTES_MAX, description="Of all the bytes in one webhook."
    )
    options: dict[str, Any] | None = Field(
        default=None, max_length=50, description="Of a mail, sftp or folder endpoint: what its kind needs."
    )

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.kind == "webhook" and not self.url:
            raise ValueError("a webhook needs url")
        return self

    def stored(self) -> dict[str, Any]:
        """The fields of the document."""
        names = EndpointFields.model_fields
        return {name: value for name, value in self.model_dump(mode="json").items() if name in names}


class Rotation(Part):
    """How a change of secrets and keys goes."""

    overlap_s: int = Field(
        default=OVERLAP_S, ge=0, le=OVERLAP_S_MAX, description="So long the ones before sign beside the new ones."
    )
