"""Runs a Postman collection (v2.1) as Postman does, as far as ours needs it: variables, bodies, and the scripts that
remember values of an answer."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

_REMEMBER = re.compile(r'remember\("(\w+)", body(.*)\);')
_STEP = re.compile(r"\?\.(?:\[(\d+)\]|(\w+))")


@dataclass(frozen=True)
class Ran:
    """One request that was sent."""

    name: str
    filled: bool
    """Every variable in its path was given, or remembered from an answer; none is just an example."""
    answer: httpx.Response


class Runner:
    """A collection with its variables."""

    def __init__(self, collection: dict[str, Any], given: dict[str, str]) -> None:
        self._collection = collection
        self.variables = {one["key"]: one["value"] for one in collection["variable"]} | given
        self._real = set(given)

    def run(self, http: httpx.Client) -> Iterator[Ran]:
        """Send every request, in order."""
        for folder in self._collection["item"]:
            for item in folder["item"]:
                yield self._send(http, item)

    def _send(self, http: httpx.Client, item: dict[str, Any]) -> Ran:
        request = item["request"]
        headers = {self._text(one["key"]): self._text(one["value"]) for one in _sent(request["header"])}
        token = self._collection["auth"]["bearer"][0]["value"]
        headers["Authorization"] = f"Bearer {self._text(token)}"
        answer = http.request(
            request["method"],
            self._text("/".join([*request["url"]["host"], *request["url"]["path"]])),
            params={one["key"]: self._text(one["value"]) for one in _sent(request["url"].get("query", []))},
            headers=headers,
            **self._body(request.get("body")),
        )
        names = set(re.findall(r"\{\{(\w+)\}\}", request["url"]["raw"].split("?")[0]))
        ran = Ran(f"{request['method']} {request['url']['raw']}", names <= self._real, answer)
        for event in item.get("event", []):
            self._remember(event["script"]["exec"], answer)
        return ran

    def _body(self, body: dict[str, Any] | None) -> dict[str, Any]:
        if body is None:
            return {}
        if body["mode"] == "raw":
            return {"content": self._text(body["raw"])}
        files = {one["key"]: ("example.txt", b"example") for one in body["formdata"] if one["type"] == "file"}
        data = {one["key"]: self._text(one["value"]) for one in body["formdata"] if one["type"] == "text"}
        return {"files": files, "data": data}

    def _remember(self, script: list[str], answer: httpx.Response) -> None:
        for line in script:
            if (found := _REMEMBER.fullmatch(line)) and answer.status_code < 300:
                value: Any = answer.json()
                for index, name in _STEP.findall(found.group(2)):
                    value = _step(value, index, name)
                if value:
                    self.variables[found.group(1)] = str(value)
                    self._real.add(found.group(1))

    def _text(self, text: str) -> str:
        return re.sub(r"\{\{(\$?\w+)\}\}", self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        return str(uuid.uuid4()) if found.group(1) == "$guid" else self.variables[found.group(1)]


def _sent(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in listed if not one.get("disabled")]


def _step(value: Any, index: str, name: str) -> Any:
    """One `?.` of JavaScript."""
    if index:
        return value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
    return value.get(name) if isinstance(value, dict) else None
