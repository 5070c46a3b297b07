"""The demo's workflow folder: it can be published, and it fits the portal and the tasks it is for."""

from __future__ import annotations

import asyncio

from jsonschema import Draft202012Validator

from demo.partner.push import read_tasks
from shared.script.check import Checked, check_workflow
from tests.demo.servers import ROOT

FOLDER = ROOT / "demo" / "workflow"


def _checked() -> Checked:
    return asyncio.run(check_workflow({path.name: path.read_text() for path in FOLDER.iterdir() if path.is_file()}))


def test_it_can_be_published() -> None:
    assert _checked().errors == ()


def test_the_demos_tasks_fit_its_input() -> None:
    definition = _checked().definition
    assert definition is not None
    validator = Draft202012Validator(definition.input)
    for task in read_tasks(ROOT / "demo" / "tasks.csv", "demo-20261124-000000"):
        assert list(validator.iter_errors(task["input"])) == []


def test_every_id_that_a_selector_names_stands_in_a_page() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "demo" / "portal" / "templates").glob("*.html"))
    for name, defined in _checked().objects.items():
        for selector in defined.selectors[0].removeprefix("css=").split(", "):
            element = selector.removeprefix("#")
            assert f'id="{element}"' in pages or f'.id = "{element}"' in pages, name
