"""/docs: the API's description as one page, made from the OpenAPI document, without scripts from anywhere.

Called by: pages/__init__.py. The usual pages for this load scripts from a network that may not be there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse

from services.console.pages.markup import Html, tag

_METHODS = ("get", "post", "put", "patch", "delete")
_HEADERS = {"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'"}


def reference_router(app: FastAPI) -> APIRouter:
    """GET /docs."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def show() -> HTMLResponse:
        return HTMLResponse(f"<!doctype html>{draw(app.openapi())}", headers=_HEADERS)

    return router


def draw(document: Mapping[str, Any]) -> Html:
    """The page for an OpenAPI document."""
    groups: dict[str, list[Html]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                groups[(operation.get("tags") or ["other"])[0]].append(_operation(document, method, path, operation))
    sections = [
        tag("section", tag("h2", name), operations, class_="part", id=name) for name, operations in groups.items()
    ]
    links = [tag("a", name, href=f"#{name}") for name in groups]
    about = tag("p", "Machine-readable: ", tag("a", "/openapi.json", href="/openapi.json"), class_="dim")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", document["info"]["title"]),
        tag("link", rel="stylesheet", href="/static/console.css"),
    )
    body = tag(
        "main", tag("h1", document["info"]["title"]), about, tag("nav", links), sections, class_="content reference"
    )
    return tag("html", head, tag("body", body, class_="anonymous-wide"), lang="en")


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Html:
    answers = [
        f"{status}: {one.get('description', '')}" for status, one in operation["responses"].items() if status < "400"
    ]
    return tag(
        "details",
        tag(
            "summary",
            tag("b", method.upper()),
            " ",
            tag("code", path),
            " ",
            tag("span", _first(operation), class_="dim"),
        ),
        tag("p", operation.get("description") or ""),
        _fields("Parameters", [(one["name"], one) for one in operation.get("parameters") or []]),
        _fields("Body", _body_fields(document, operation.get("requestBody"))),
        _fields(
            "Answer", _body_fields(document, operation["responses"].get("200") or operation["responses"].get("201"))
        ),
        tag("p", "; ".join(answers), class_="dim"),
    )


def _first(operation: Mapping[str, Any]) -> str:
    return str(operation.get("description") or operation.get("summary") or "").split("\n")[0]


def _body_fields(document: Mapping[str, Any], part: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and schemas of a body's fields; alternatives one after another."""
    schema = ((part or {}).get("content") or {}).get("application/json", {}).get("schema") or {}
    found: list[tuple[str, Mapping[str, Any]]] = []
    for one in schema.get("oneOf") or schema.get("anyOf") or [schema]:
        named = document.get("components", {}).get("schemas", {}).get(str(one.get("$ref", "")).rpartition("/")[2], one)
        found += list((named.get("properties") or {}).items())
    return found


def _fields(title: str, fields: list[tuple[str, Mapping[str, Any]]]) -> Html | None:
    if not fields:
        return None
    rows = [(tag("dt", tag("code", name)), tag("dd", one.get("description") or _kind(one))) for name, one in fields]
    return tag("div", tag("h3", title), tag("dl", rows, class_="facts"))


def _kind(schema: Mapping[str, Any]) -> str:
    return str((schema.get("schema") or schema).get("type") or "")
