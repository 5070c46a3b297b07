"""The partners' APIs as files: OpenAPI, a Postman collection (v2.1) and a Bruno collection, all of the services' own
description.

Called by: docs/generate.py; tests/contracts/test_openapi.py and tests/partners check and run them. Change also:
nothing; a new route appears by itself, with the example that its service's examples.py gives it. Formats:
https://schema.postman.com/json/collection/v2.1.0, https://docs.usebruno.com/bru-lang/overview
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from services.collector import routes as collector
from services.delivery import routes as delivery
from shared.runtime.http import VERSION

SERVICES: dict[str, tuple[Any, str]] = {
    "collector": (collector, "http://127.0.0.1:8001"),
    "delivery": (delivery, "http://127.0.0.1:8004"),
}
POSTMAN_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
ABOUT = "Generated from the services' OpenAPI by `make docs`. Set `key`, `collector_url` and `delivery_url`."
REMEMBER = "function remember(name, value) { if (value) pm.collectionVariables.set(name, value); }"


@dataclass(frozen=True)
class Operation:
    """One route, ready to be written down."""

    service: str
    method: str
    path: str
    described: Mapping[str, Any]
    sets: Mapping[str, list[str]]
    """Variables that its answer fills: the way into the body, such as ["accepted", "0", "id"]."""

    @property
    def name(self) -> str:
        """For people."""
        return str(self.described["summary"])

    @property
    def url(self) -> str:
        """With variables in the place of path parameters."""
        return f"{{{{{self.service}_url}}}}{_filled(self.path)}"

    def parameters(self, place: str) -> list[dict[str, Any]]:
        """Parameters that stand in `query` or `header`, with their example or none."""
        return [
            {"name": one["name"], "value": _text(_value(one)), "about": one.get("description", "")}
            for one in self.described.get("parameters", ())
            if one["in"] == place
        ]

    @property
    def body(self) -> tuple[str, Any] | None:
        """Media type and example of the request: JSON or a form before others."""
        contents = self.described.get("requestBody", {}).get("content", {})
        for media in ("application/json", "multipart/form-data", *contents):
            if "example" in contents.get(media, {}):
                return media, contents[media]["example"]
        return None


def openapi(service: str) -> dict[str, Any]:
    """What a service says of itself at /openapi.json."""
    routes, _ = SERVICES[service]
    app = FastAPI(title=f"Regente {service}", version=VERSION)
    routes.add_routes(app)
    return app.openapi()


def files() -> dict[str, str]:
    """Every generated file by its place under docs/."""
    documents = {service: openapi(service) for service in SERVICES}
    found = {f"openapi/{service}.json": _json(document) for service, document in documents.items()}
    listed = [one for service, document in documents.items() for one in operations(service, document)]
    found["api/regente.postman_collection.json"] = _json(postman(listed))
    found.update({f"api/bruno/{place}": text for place, text in bruno(listed)})
    return found


def remove_stale(folder: Path) -> None:
    """Take away files of routes that are no more."""
    current = {folder / place for place in files()}
    for path in [*(folder / "api").rglob("*.bru"), *(folder / "openapi").glob("*.json")]:
        if path not in current:
            path.unlink()


def operations(service: str, document: Mapping[str, Any]) -> list[Operation]:
    """A service's routes in an order in which they can be tried: what makes something comes before what reads it."""
    found = [
        (method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    paths = {described["operationId"]: path for _, path, described in found}
    ordered = sorted(found, key=lambda one: _rank(one[0], one[1]))
    return [Operation(service, method, path, it, _sets(it, paths)) for method, path, it in ordered]


def _rank(method: str, path: str) -> int:
    on_one = "{" in path
    return {"POST": 3 if on_one else 0, "PUT": 1, "GET": 2, "PATCH": 3, "DELETE": 4}[method]


def _sets(described: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, list[str]]:
    """Variables by the operation's links: path parameters of what follows, taken from the answer's body."""
    found = {}
    for answer in described["responses"].values():
        for link in answer.get("links", {}).values():
            for name, expression in link["parameters"].items():
                variable = _variable(paths[link["operationId"]], name)
                if variable and expression.startswith("$response.body#/"):
                    found[variable] = expression.removeprefix("$response.body#/").split("/")
    return found


def _variable(path: str, parameter: str) -> str | None:
    """Name of the variable for a path parameter: `tasks_id` for /v1/tasks/{id}."""
    parts = path.split("/")
    at = next((n for n, part in enumerate(parts) if part.startswith("{" + parameter)), None)
    return None if at is None else f"{parts[at - 1]}_{parameter}"


def _filled(path: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: "{{" + str(_variable(path, found.group(1))) + "}}", path)


def _value(parameter: Mapping[str, Any]) -> Any:
    return "{{$guid}}" if parameter["name"].lower() == "idempotency-key" else parameter.get("example")


# Postman


def postman(listed: list[Operation]) -> dict[str, Any]:
    """The collection."""
    variables = [{"key": "key", "value": "", "type": "string"}]
    variables += [{"key": f"{name}_url", "value": url, "type": "string"} for name, (_, url) in SERVICES.items()]
    variables += [{"key": name, "value": value, "type": "string"} for name, value in _defaults(listed).items()]
    folders = [
        {"name": service, "item": [_postman_item(one) for one in listed if one.service == service]}
        for service in SERVICES
    ]
    bearer = [{"key": "token", "value": "{{key}}", "type": "string"}]
    return {
        "info": {"name": "Regente", "description": ABOUT, "schema": POSTMAN_SCHEMA},
        "auth": {"type": "bearer", "bearer": bearer},
        "variable": variables,
        "item": folders,
    }


def _defaults(listed: list[Operation]) -> dict[str, str]:
    """The path parameters' variables with their examples."""
    found = {}
    for one in listed:
        for parameter in one.described.get("parameters", ()):
            if parameter["in"] == "path":
                found[str(_variable(one.path, parameter["name"]))] = _text(parameter.get("example")) or ""
    return found


def _postman_item(one: Operation) -> dict[str, Any]:
    query = [_postman_parameter(parameter) for parameter in one.parameters("query")]
    sent = "&".join(f"{each['key']}={each['value']}" for each in query if not each.get("disabled"))
    url: dict[str, Any] = {
        "raw": one.url + (f"?{sent}" if sent else ""),
        "host": [f"{{{{{one.service}_url}}}}"],
        "path": _filled(one.path).strip("/").split("/"),
    }
    if query:
        url["query"] = query
    request: dict[str, Any] = {
        "method": one.method,
        "header": [_postman_parameter(parameter) for parameter in one.parameters("header")],
        "url": url,
        "description": one.described.get("description", ""),
    }
    if one.body is not None:
        media, value = one.body
        request["body"] = _postman_body(media, value)
        if media != "multipart/form-data":
            request["header"].append({"key": "Content-Type", "value": media})
    item: dict[str, Any] = {"name": one.name, "request": request, "response": list(_postman_answers(one))}
    if one.sets:
        lines = [f"remember({json.dumps(name)}, body{_optional(way)});" for name, way in one.sets.items()]
        script = [REMEMBER, "const body = pm.response.code < 300 ? pm.response.json() : {};", *lines]
        item["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": script}}]
    return item


def _postman_parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"key": parameter["name"], "value": parameter["value"] or ""}
    if parameter["value"] is None:
        found["disabled"] = True
    return {**found, "description": parameter["about"]} if parameter["about"] else found


def _postman_body(media: str, value: Any) -> dict[str, Any]:
    if media == "multipart/form-data":
        parts = [_postman_part(name, text) for name, text in value.items()]
        return {"mode": "formdata", "formdata": parts}
    if isinstance(value, str):
        return {"mode": "raw", "raw": value}
    return {"mode": "raw", "raw": _json(value).rstrip(), "options": {"raw": {"language": "json"}}}


def _postman_part(name: str, value: Any) -> dict[str, Any]:
    if name == "file":
        return {"key": name, "type": "file", "src": []}
    return {"key": name, "type": "text", "value": _text(value)}


def _postman_answers(one: Operation) -> Iterator[dict[str, Any]]:
    for status, answer in one.described["responses"].items():
        for media, content in answer.get("content", {}).items():
            if "example" in content:
                yield {
                    "name": f"{status} {answer['description']}",
                    "code": int(status),
                    "status": HTTPStatus(int(status)).phrase,
                    "header": [{"key": "Content-Type", "value": media}],
                    "body": _json(content["example"]).rstrip(),
                }


def _optional(way: list[str]) -> str:
    return "".join(f"?.[{part}]" if part.isdigit() else f"?.{part}" for part in way)


# Bruno


def bruno(listed: list[Operation]) -> Iterator[tuple[str, str]]:
    """The collection's files by their place in its folder."""
    yield "bruno.json", _json({"version": "1", "name": "Regente", "type": "collection", "ignore": []})
    urls = {f"{name}_url": url for name, (_, url) in SERVICES.items()}
    values = _block("vars", {**urls, **_defaults(listed)})
    yield "environments/local.bru", f"{values}\nvars:secret [\n  key\n]\n"
    yield "collection.bru", "auth {\n  mode: bearer\n}\n\n" + _block("auth:bearer", {"token": "{{key}}"})
    for seq, one in enumerate(listed, 1):
        yield f"{one.service}/{one.described['operationId']}.bru", _bruno_file(one, seq)


def _bruno_file(one: Operation, seq: int) -> str:
    media, value = one.body or ("", None)
    kind = {"": "none", "application/json": "json", "multipart/form-data": "multipartForm"}.get(media, "text")
    query = {("" if p["value"] is not None else "~") + p["name"]: p["value"] or "" for p in one.parameters("query")}
    headers = {("" if p["value"] is not None else "~") + p["name"]: p["value"] or "" for p in one.parameters("header")}
    if kind == "text":
        headers["Content-Type"] = media
    sent = "&".join(f"{name}={text}" for name, text in query.items() if not name.startswith("~"))
    blocks = [
        _block("meta", {"name": one.name, "type": "http", "seq": str(seq)}),
        _block(one.method.lower(), {"url": one.url + (f"?{sent}" if sent else ""), "body": kind, "auth": "inherit"}),
    ]
    if query:
        blocks.append(_block("params:query", query))
    if headers:
        blocks.append(_block("headers", headers))
    if kind == "multipartForm":
        parts = {name: "@file()" if name == "file" else _text(each) for name, each in value.items()}
        blocks.append(_block("body:multipart-form", parts))
    elif kind != "none":
        text = value if isinstance(value, str) else _json(value)
        blocks.append(_free(f"body:{kind}", text))
    if one.sets:
        blocks.append(_block("vars:post-response", {name: f"res.body{_plain(way)}" for name, way in one.sets.items()}))
    blocks.append(_free("docs", one.described.get("description", "")))
    return "\n".join(blocks)


def _plain(way: list[str]) -> str:
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in way)


def _block(name: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"{name} {{", *(f"  {key}: {value}".rstrip() for key, value in values.items()), "}", ""])


def _free(name: str, text: str) -> str:
    return "\n".join([f"{name} {{", *(f"  {line}".rstrip() for line in text.strip().splitlines()), "}", ""])


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
