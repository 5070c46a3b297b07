"""objects.yaml and what scripts say about it: refused with file, line and what was meant, or warned of."""

from __future__ import annotations

import ast

import pytest

from shared.script import CheckError, check_workflow
from shared.script.objects import named_in, read_objects, selector_problem

WORKFLOW = "name: x\nscenarios:\n  - {name: a, script: a.py}\n"
OBJECTS = """\
search: {selectors: ["css=#search", "label=Search"], environments: {staging: {selectors: ["css=#q"]}}}
go: {title: Go, selectors: ["role=button[name=Go]"]}
"""
HEAD = "from robot import browser\nfrom regente import objects\n\n\ndef execute(task: dict[str, str]) -> None:\n"


async def wrong(script: str, objects: str = OBJECTS) -> list[tuple[str, int | None, str]]:
    checked = await check_workflow({"workflow.yaml": WORKFLOW, "objects.yaml": objects, "a.py": script})
    return [(one.file, one.line, one.message) for one in checked.errors]


async def test_an_unknown_object_is_refused_with_its_line_and_the_nearest_names() -> None:
    script = HEAD + "    browser.click(objects.go)\n    browser.click(objects.serch)\n"
    assert await wrong(script) == [("a.py", 7, "objects.yaml has no serch; did you mean search?")]
    script = HEAD + "    browser.click(objects.xyz)\n"
    assert await wrong(script) == [("a.py", 6, "objects.yaml has no xyz; it has go, search")]
    assert await wrong(script, "") == [("a.py", 6, "objects.yaml has no xyz; it names no objects")]


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("from robot import browser\nfrom regente.objects import serch\ndef execute(task: dict[str, str]) -> None:\n"
         "    browser.click(serch)\n", 2),
        (HEAD.replace("objects\n", "objects as o\n") + "    browser.click(o.serch)\n", 6),
        (HEAD + "    one = objects\n    browser.click(one.serch)\n", 7),
        (HEAD.replace("from regente import objects", "import regente") + "    browser.wait(regente.objects.x)\n", 6),
        (HEAD + "    browser.click({'$object': 'serch'})\n", 6),
        (HEAD + "    browser.click('css=#search')\n", 6),
        ("from robot import browser\ndef execute(task: dict[str, str]) -> None:\n    browser.wait('css=#search')\n", 3),
    ],
)  # fmt: skip
async def test_there_is_no_way_around_it(script: str, line: int) -> None:
    found = await wrong(script)
    assert [(file, at) for file, at, _ in found] == [("a.py", line)], found


async def test_objects_that_no_script_uses_are_a_warning() -> None:
    files = {"workflow.yaml": WORKFLOW, "objects.yaml": OBJECTS, "a.py": HEAD + "    browser.click(objects.go)\n"}
    checked = await check_workflow(files)
    assert (checked.errors, checked.warnings) == (
        (),
        (CheckError("objects.yaml", 1, "search is used by no script"),),
    )
    files["a.py"] = HEAD + "    one = objects\n    browser.click(one.go)\n"
    assert (await check_workflow(files)).warnings == (), "nobody can tell"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: {selectors: ['#search']}", 1, "a: selector '#search' must begin with css=, xpath="),
        ("a: {selectors: ['css=x']}\nb:\n  selectors: ['css=y']\n  environments: {s: {selectors: [y]}}", 2, "b in s"),
        ("a: {selectors: ['css=x'], environments: {st: {selectors: []}}}", 1, "a.environments.st.selectors: "),
        ("a: {selectors: ['css=x'], environments: {St: {selectors: ['css=x']}}}", 1, "a.environments.St"),
        ("a: {selectors: ['role=Button!']}", 1, "must look like role=button"),
        ("a: {selectors: ['css=x', 'css=x']}", 1, "stands there twice"),
        ("a: {selectors: ['css=x']}\nb: {selectors: ['css=y']}\na: {selectors: ['css=z']}", 3, "first on line 1"),
        ("a:\n  selectors: ['css=y']\n  title: x\n  selectors: ['css=x']", 4, "a.selectors stands there twice"),
        ("a: {selectors: []}", 1, "a.selectors: "),
        ("a: {selectors: ['css=x'], selector: 3}", 1, "a.selector: "),
        ("'Go-1': {selectors: ['css=x']}", 1, "is no name"),
        ("3: {selectors: ['css=x']}", 1, "is no name"),
        ("- a", None, "must map names"),
        ("a: [", None, "not YAML"),
        ("a: {selectors: ['css=" + "x" * 2000 + "']}", 1, "a.selectors.0: "),
        ("\n".join(f"a{n}: {{selectors: ['css=#a{n}']}}" for n in range(1001)), None, "at most 1000"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_objects_yaml(text: str, line: int | None, says: str) -> None:
    found = read_objects({"objects.yaml": text}).errors
    assert len(found) == 1, found
    assert says in found[0].message
    assert line is None or found[0].line == line


def test_two_names_of_one_element_are_a_warning() -> None:
    found = read_objects({"objects.yaml": "a: {selectors: ['css=x']}\nb: {title: B, selectors: ['css=x']}"})
    assert found.errors == ()
    assert [(one.line, one.message) for one in found.warnings] == [(2, "b has the same selectors as a")]


def test_selectors_of_every_kind() -> None:
    good = ("css=#a", "xpath=//a", "text=Go on", "label=a", "placeholder=a", "title=a", "testid=a", "role=link")
    assert [one for one in good if selector_problem(one)] == []
    assert [one for one in ("", "css=", "id=a", "test=a", "role=", "role=Link") if not selector_problem(one)] == []


def test_names_are_found_once_with_their_first_line() -> None:
    named = named_in(ast.parse("from regente import objects\nx = objects.a\ny = objects.b\nz = objects.a\n"))
    assert (named.names, named.passes_on) == ({"a": 2, "b": 3}, False)
    assert named_in(ast.parse("from regente import objects\nprint(objects)\n")).passes_on
