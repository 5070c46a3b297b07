"""Find the element that a target names: its selectors are tried in order, again and again until the time is over.

Called by: browser. Survives a crash: nothing. Change also: the form of selectors in the server's objects.yaml.

Selectors: css=..., xpath=..., text=..., label=..., placeholder=..., title=..., testid=..., role=button[name=Search].

The rule: every look tries all selectors in order, so none of them uses up the time of the next. The first that shows a
visible element wins. If it shows several, the first in the page's order is taken and a warning is logged; an act that
can't be taken back (commit) is not done on a guess: there such a selector counts as showing nothing.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

from regente_agent.drivers.contract import Failure, Target

POLL_MS = 80
ANSWER_S = 1.0
"""How long a page may take to answer before a look is given up; the next look asks again."""
MATCHES_MAX = 20
SELECTORS_MAX = 20
SELECTOR_SHOWN_MAX = 200
_ROLE = re.compile(r"(?P<role>[a-z]+)(?:\[name=(?P<quote>[\"']?)(?P<name>.*)(?P=quote)\])?")

_BY: Dict[str, Callable[[Any, str], Any]] = {
    "css": lambda page, text: page.locator("css=" + text),
    "xpath": lambda page, text: page.locator("xpath=" + text),
    "text": lambda page, text: page.get_by_text(text),
    "label": lambda page, text: page.get_by_label(text),
    "placeholder": lambda page, text: page.get_by_placeholder(text),
    "title": lambda page, text: page.get_by_title(text),
    "testid": lambda page, text: page.get_by_test_id(text),
    "role": lambda page, text: _by_role(page, text),
}


def title(target: Target) -> str:
    """What people call the element."""
    return str(target.get("$object", "the element"))[:100]


@dataclass
class Found:
    """What came of looking for an element."""

    element: Optional[Any] = None
    index: Optional[int] = None
    """Of the selector that showed it."""
    visible: int = 0
    """How many visible elements that selector shows."""
    tried: str = ""
    """What the last look saw, for people, when nothing was found."""


def find(page: Any, target: Target, wait_s: float, is_over: Callable[[], bool], *, exactly_one: bool = False) -> Found:
    """The element that a target names, or what was tried when the time is over. `exactly_one`: never guess.

    Raises: Failure BAD_ARGUMENT for a selector that can't be read.
    """
    selectors = [str(text) for text in target["selectors"][:SELECTORS_MAX]]
    locators = [(text, _locator(page, text)) for text in selectors]
    found = Found()

    def look() -> bool:
        nonlocal found
        found = _look(page, locators, exactly_one) if answers(page, ANSWER_S) else Found(tried=_SILENT)
        return found.element is not None or is_over()

    poll(page, look, wait_s)
    return found


def answers(page: Any, wait_s: float) -> bool:
    """Whether the page answers: everything else that is asked of one whose scripts are busy waits without end."""
    try:
        page.locator("css=:root").wait_for(state="attached", timeout=wait_s * 1000)
    except Exception as error:  # Playwright's errors have no common ground but their texts
        return type(error).__name__ != "TimeoutError"
    return True


_SILENT = "the page does not answer: its scripts are busy, or it waits for its next one"


def _look(page: Any, locators: List[Tuple[str, Any]], exactly_one: bool) -> Found:
    tried = []
    for index, (text, locator) in enumerate(locators):
        there, visible = _visible(locator)
        if visible and (len(visible) == 1 or not exactly_one):
            return Found(visible[0], index, len(visible))
        tried.append(f"{text[:SELECTOR_SHOWN_MAX]} ({_seen(there, len(visible))})")
    return Found(tried="; ".join(tried))


def _seen(there: int, visible: int) -> str:
    if visible:
        return f"{visible} visible ones: which is meant?"
    return f"{there} there, not visible" if there else "not there"


def poll(page: Any, test: Callable[[], bool], wait_s: float) -> bool:
    """Test at once and then every 80 ms until it holds or the time is over; at least once."""
    end = time.monotonic() + wait_s
    while not test():
        if time.monotonic() >= end:
            return False
        try:
            page.wait_for_timeout(POLL_MS)
        except Exception:  # the page was closed: the test will say so, or the time ends
            time.sleep(POLL_MS / 1000)
    return True


def _locator(page: Any, selector: str) -> Any:
    kind, separator, text = selector.partition("=")
    if not separator or kind not in _BY or not text:
        raise Failure("BAD_ARGUMENT", f"selector {selector[:100]!r} must begin with one of {', '.join(_BY)} and =")
    return _BY[kind](page, text)


def _by_role(page: Any, text: str) -> Any:
    match = _ROLE.fullmatch(text)
    if match is None:
        raise Failure("BAD_ARGUMENT", f"selector role={text[:100]!r} must look like role=button[name=Search]")
    if match.group("name"):
        return page.get_by_role(match.group("role"), name=match.group("name"))
    return page.get_by_role(match.group("role"))


def _visible(locator: Any) -> Tuple[int, List[Any]]:
    """How many elements match, and the visible ones among the first of them, in the page's order.

    Errors within a navigation mean 'not yet'; a wrong selector is the script's.
    """
    visible = []
    there = 0
    try:
        there = locator.count()
        for index in range(min(there, MATCHES_MAX)):
            element = locator.nth(index)
            if element.is_visible():
                visible.append(element)
    except Exception as error:
        if "is not a valid" in str(error) or "Unexpected token" in str(error) or "parsing" in str(error):
            raise Failure("BAD_ARGUMENT", f"a selector can't be read: {str(error).splitlines()[0][:200]}") from error
    return there, visible
