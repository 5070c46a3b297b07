"""What OpenAPI can't take from the code: the shape of errors, examples for every request and answer, and links from an
answer to the next call.

Called by: shared/runtime/http.py (errors), the routes of all services (`problem_responses`), routes.py of collector and
delivery (their /openapi.json), docs/generate.py (the same as files, and the Postman
and Bruno collections, which are made of the examples and the links). Survives a crash: nothing. Change also: a new
route needs its entry in its service's examples.py; tests/contracts/test_openapi.py names those that have none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

JSON, PROBLEM = "application/json", "application/problem+json"
PARTNERS_ALWAYS = (401, 403, 422, 429, 503)
"""What any route of partners may answer: its key is checked and counted before anything else."""


class ProblemBody(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(default="about:blank", description="A URI of the kind of problem.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="The HTTP status.")
    detail: str | None = Field(default=None, description="What is wrong here, and what to do.")
    code: str | None = Field(default=None, description="The kind of problem, for programs.")
    errors: list[dict[str, Any]] | None = Field(default=None, description="Each thing that is wrong with the input.")


def problem_responses(words: Mapping[int, str], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for these statuses; words: what each means there."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": words[status], "content": content} for status in statuses}


def partner_problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route of partners: the problems that any may answer, and `more`."""
    return problem_responses(_PARTNERS_WORDS, *sorted({*PARTNERS_ALWAYS, *more}))


def add_problem_shape(app: FastAPI) -> None:
    """Have an app's OpenAPI hold the shape that problem_responses refers to."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        shape = ProblemBody.model_json_schema()
        document.setdefault("components", {}).setdefault("schemas", {}).setdefault("ProblemBody", shape)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


@dataclass(frozen=True)
class Link:
    """After an answer, the call that goes on with it (OpenAPI's Link Object)."""

    status: int
    """Of the answer."""
    to: str
    """Operation that follows: the name of its function."""
    parameters: Mapping[str, str]
    """Its parameters, as runtime expressions such as `$response.body#/accepted/0/id` or `$request.path.id`."""


@dataclass(frozen=True)
class Example:
    """One call of a route, with its answers."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """By name; path parameters need one, others may have one."""
    request: Any = None
    """The JSON body, or the fields of a form."""
    requests: Mapping[str, Any] = field(default_factory=dict)
    """Bodies of other media types."""
    answers: Mapping[int, Any] = field(default_factory=dict)
    """JSON bodies by status. Errors have one without being named here."""
    links: Sequence[Link] = ()
    name: str = ""
    """Of the operation; none: its function's."""


def describe(app: FastAPI, about: str, examples: Mapping[str, Example]) -> None:
    """Give an app's OpenAPI a description, examples and links. examples: by operation, such as `GET /v1/tasks`."""
    add_problem_shape(app)
    plain = app.openapi
    described = False

    def openapi() -> dict[str, Any]:
        nonlocal described
        if not described:
            document = plain()
            document["info"]["description"] = about
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    # The function's name alone, without its path: links and files are named by it.
                    example = examples.get(f"{method.upper()} {path}", Example())
                    ending = re.sub(r"\W", "_", path) + f"_{method}"
                    operation["operationId"] = example.name or operation["operationId"].removesuffix(ending)
                    operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
                    _complete(operation, example)
            described = True
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _complete(operation: dict[str, Any], example: Example) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in example.parameters:
            parameter["example"] = example.parameters[parameter["name"]]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        found = example.requests.get(media, example.request if media in (JSON, "multipart/form-data") else None)
        if found is not None:
            content["example"] = found
    for status, answer in operation["responses"].items():
        for media, content in answer.get("content", {}).items():
            if media == PROBLEM:
                content["example"] = example.answers.get(int(status)) or problem_example(int(status))
            elif int(status) in example.answers:
                content["example"] = example.answers[int(status)]
    for link in example.links:
        links = operation["responses"][str(link.status)].setdefault("links", {})
        links[link.to] = {"operationId": link.to, "parameters": dict(link.parameters)}


def problem_example(status: int) -> dict[str, Any]:
    """What an error of this status looks like."""
    code, detail = _PROBLEMS.get(status, ("INTERNAL", "a fault of this program; its log holds the details"))
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}


_PARTNERS_WORDS = {
    400: "The request can't be read.",
    401: "No key, or one that is not valid.",
    403: "The key lacks the scope, or may not be used from this address, or not for this.",
    404: "There is no such thing in this account.",
    408: "The body did not come in time.",
    409: "Its state does not allow this, or a request with the same Idempotency-Key is in hand.",
    410: "The task was deleted after its time; its reference stays taken.",
    413: "The body is over the limit: 16 MB, or 50 MB of a file.",
    415: "A media type that is not taken here.",
    422: "The request does not fit its schema; `errors` says what is wrong where.",
    429: "The key's limit per minute, or the limit of those who wait, is reached; Retry-After says when to come back.",
    503: "A part that is needed does not answer; try again.",
}
_PROBLEMS = {
    400: ("MALFORMED", "the body is no JSON: Expecting value: line 1 column 1 (char 0)"),
    401: ("UNAUTHENTICATED", "this key is not known"),
    403: ("FORBIDDEN", "this key has no scope 'tasks'"),
    404: ("NOT_FOUND", "there is no such task in this account"),
    409: ("CONFLICT", "its state does not allow this"),
    413: ("TOO_LARGE", "the body is larger than 16777216 bytes"),
    415: ("MALFORMED", "this content type is not taken here"),
    422: ("INVALID_INPUT", "query.limit: Input should be less than or equal to 200"),
    429: ("TOO_MANY", "this key's rate limit is used up; try again in 2 s"),
    503: ("UNAVAILABLE", "the database does not answer at the moment; try again"),
}
