"""The partners' APIs as they are described: every route has examples that fit its schemas, links lead somewhere, and
the collections hold every route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from docs.partner_apis import SERVICES, Operation, openapi, operations, remove_stale
from shared.runtime.openapi import PROBLEM

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENTS = {service: openapi(service) for service in SERVICES}
OPERATIONS = [one for service, document in DOCUMENTS.items() for one in operations(service, document)]
EXAMPLES = {service: examples.EXAMPLES for service, (examples, _) in SERVICES.items()}

each_operation = pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")


def contents(one: Operation) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every content of a route that can have an example: where it stands, its media type, itself."""
    for media, content in one.described.get("requestBody", {}).get("content", {}).items():
        yield "request", media, content
    for status, answer in one.described["responses"].items():
        for media, content in answer.get("content", {}).items():
            if media != "*/*":
                yield status, media, content


@each_operation
def test_a_route_has_an_example_for_its_request_its_path_and_every_answer(one: Operation) -> None:
    lacking = [f"{place} {media}" for place, media, content in contents(one) if "example" not in content]
    parameters = one.described.get("parameters", ())
    lacking += [p["name"] for p in parameters if (p["in"] == "path" or p.get("required")) and "example" not in p]
    assert not lacking, f"{one.method} {one.path} in services/{one.service}/examples.py lacks: {', '.join(lacking)}"


@each_operation
def test_its_examples_fit_its_schemas(one: Operation) -> None:
    document = DOCUMENTS[one.service]
    wrong = []
    for place, media, content in contents(one):
        if media == "multipart/form-data" or isinstance(content["example"], str):
            continue  # forms and lines; tests/partners sends them
        wrong += [f"{place}: {error}" for error in _errors(document, content["schema"], content["example"])]
        if media == PROBLEM and content["example"]["status"] != int(place):
            wrong.append(f"{place}: the example is of status {content['example']['status']}")
    for parameter in one.described.get("parameters", ()):
        if "example" in parameter:
            errors = _errors(document, parameter["schema"], parameter["example"])
            wrong += [f"{parameter['name']}: {error}" for error in errors]
    assert not wrong, f"{one.method} {one.path}: {wrong}"


def _errors(document: dict[str, Any], schema: dict[str, Any], example: Any) -> list[str]:
    whole = {**schema, "components": document["components"]}
    validator = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(example)]


def test_an_example_that_does_not_fit_is_noticed() -> None:
    schema = DOCUMENTS["collector"]["paths"]["/v1/tasks"]["post"]["responses"]["202"]["content"]["application/json"]
    broken = {**schema["example"], "batch": 7}
    assert _errors(DOCUMENTS["collector"], schema["schema"], broken) == ["$.batch: 7 is not of type 'string'"]


@pytest.mark.parametrize("service", SERVICES)
def test_no_example_is_of_a_route_that_is_gone(service: str) -> None:
    routes = {f"{one.method} {one.path}" for one in OPERATIONS if one.service == service}
    assert set(EXAMPLES[service]) <= routes


@each_operation
def test_its_links_lead_to_parameters_of_routes_and_can_be_followed(one: Operation) -> None:
    routes = {each.described["operationId"]: each for each in OPERATIONS if each.service == one.service}
    for status, answer in one.described["responses"].items():
        for name, link in answer.get("links", {}).items():
            there = routes[link["operationId"]].described.get("parameters", [])
            assert set(link["parameters"]) <= {parameter["name"] for parameter in there}, name
            for expression in link["parameters"].values():
                if expression.startswith("$response.body#/"):
                    example = answer["content"]["application/json"]["example"]
                    assert _at(example, expression.removeprefix("$response.body#/")), f"{status} {name}: {expression}"
                else:
                    asked = expression.removeprefix("$request.path.")
                    assert asked in {parameter["name"] for parameter in one.described["parameters"]}


def _at(value: Any, way: str) -> Any:
    for part in way.split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def test_operations_have_names_of_their_own() -> None:
    names = [one.described["operationId"] for one in OPERATIONS]
    assert len(set(names)) == len(names)


def test_the_postman_collection_holds_every_route_and_every_variable() -> None:
    text = (DOCS / "api" / "regente.postman_collection.json").read_text(encoding="utf-8")
    collection = json.loads(text)
    requests = [item["request"] for folder in collection["item"] for item in folder["item"]]
    found = {(r["method"], re.sub(r"\{\{\w+\}\}", "{}", "/" + "/".join(r["url"]["path"]))) for r in requests}
    assert found == {(one.method, re.sub(r"\{[^}]+\}", "{}", one.path)) for one in OPERATIONS}
    known = {variable["key"] for variable in collection["variable"]}
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= known
    assert {"key", "collector_url", "delivery_url"} <= known


def test_the_bruno_collection_holds_every_route_and_every_variable() -> None:
    folder = DOCS / "api" / "bruno"
    assert json.loads((folder / "bruno.json").read_text(encoding="utf-8"))["type"] == "collection"
    environment = _blocks((folder / "environments" / "local.bru").read_text(encoding="utf-8"))
    known = {line.split(":")[0].strip() for line in environment["vars"]} | {"key"}
    found = set()
    for path in folder.glob("*/*.bru"):
        if path.parent.name == "environments":
            continue
        text = path.read_text(encoding="utf-8")
        blocks = _blocks(text)
        method = next(name for name in blocks if name in ("get", "post", "put", "patch", "delete"))
        url = next(line for line in blocks[method] if line.strip().startswith("url:")).split("url:")[1].split("?")[0]
        found.add((method.upper(), re.sub(r"\{\{\w+\}\}", "{}", url.strip().split("_url}}")[1])))
        assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= known, path.name
    assert found == {(one.method, re.sub(r"\{[^}]+\}", "{}", one.path)) for one in OPERATIONS}


def _blocks(text: str) -> dict[str, list[str]]:
    """The blocks of a .bru file; a line that belongs to none is an error."""
    found: dict[str, list[str]] = {}
    inside: list[str] | None = None
    for line in text.splitlines():
        if inside is None and (begin := re.fullmatch(r"([a-z:-]+) [{\[]", line)):
            inside = found.setdefault(begin.group(1), [])
        elif inside is not None and line in ("}", "]"):
            inside = None
        elif inside is not None:
            assert line == "" or line.startswith("  "), line
            inside.append(line)
        else:
            assert line == "", line
    assert inside is None
    return found


def test_files_of_routes_that_are_gone_are_taken_away(tmp_path: Path) -> None:
    stale = tmp_path / "api" / "bruno" / "collector" / "gone.bru"
    kept = tmp_path / "api" / "bruno" / "collector" / "push_tasks.bru"
    for path in (stale, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("meta {\n}\n")
    remove_stale(tmp_path)
    assert (stale.exists(), kept.exists()) == (False, True)


@pytest.mark.parametrize("service", SERVICES)
def test_every_shape_that_is_referred_to_is_there_and_every_route_tells_what_keys_can_lead_to(service: str) -> None:
    document = DOCUMENTS[service]
    referred = set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(document)))
    assert referred <= document["components"]["schemas"].keys()
    with_key = [one for one in OPERATIONS if one.service == service and one.described.get("security")]
    assert with_key
    assert all({"401", "403", "429", "503"} <= one.described["responses"].keys() for one in with_key)
