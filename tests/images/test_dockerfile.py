"""The Dockerfile by hadolint, and what each image of it must be."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser

from deploy.local.settings import PORTS, SERVICES
from docs.generate import ROOT

FILE = ROOT / "deploy" / "images" / "Dockerfile"
TARGETS = (*SERVICES, "cli", "standalone")


def stages() -> dict[str, list[dict[str, Any]]]:
    """The instructions of each stage, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in DockerfileParser(fileobj=BytesIO(FILE.read_bytes())).structure:
        if line["instruction"] == "FROM":
            found[line["value"].split()[-1]] = []
        if found:
            found[list(found)[-1]].append(line)
    return found


def lines(stage: str) -> dict[str, str]:
    """The last value of each instruction of a stage and of those it comes from."""
    known, values = stages(), dict[str, str]()
    chain = [stage]
    while known[chain[-1]][0]["value"].split()[0] in known:
        chain.append(known[chain[-1]][0]["value"].split()[0])
    for name in reversed(chain):
        values |= {line["instruction"]: line["value"] for line in known[name]}
    return values


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(program), "-f", "json", str(FILE)], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == []


def test_every_service_has_an_image() -> None:
    made = [name for name, found in stages().items() if "ENTRYPOINT" in {line["instruction"] for line in found}]
    assert sorted(made) == sorted(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_non_root_and_says_how_it_is(target: str) -> None:
    values = lines(target)
    assert values["USER"] == "10001:10001"
    entry = json.loads(values["ENTRYPOINT"])
    if entry[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(entry[2]) is not None
        assert values["HEALTHCHECK"].endswith('CMD ["python", "-m", "shared.runtime.probe"]')
    if target in SERVICES:
        assert entry[2] == f"services.{target}"
        assert f"REGENTE_HTTP_PORT={PORTS[target][1]}" in values["ENV"]
        assert values["EXPOSE"] == str(PORTS[target][1])


def test_bases_are_pinned_and_nothing_secret_is_built_in() -> None:
    text = FILE.read_text()
    bases = re.findall(r"^FROM (\S+) AS", text, re.MULTILINE)
    outside = [base for base in bases if base not in stages()]
    assert outside
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in outside)
    assert not re.search(r"^(ARG|ENV) .*(KEY|PASSWORD|SECRET|TOKEN)", text, re.MULTILINE)
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for name in line.split()[:-1]}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= allowed
    assert all((ROOT / name).exists() for name in copied)
