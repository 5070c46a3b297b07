"""Find the element that a target names: its selectors are tried in order, again and again until the time is over.

Called by: browser. Survives a crash: nothing. Change also: the form of selectors in the server's objects.yaml.

Selectors: css=..., xpath=..., text=..., label=..., placeholder=..., title=..., test=..., role=button[name=Search].
"""

from __future__ import annotations

import re
import time
from typing import Any, Callable, Dict, Optional, Tuple

from regente_agent.drivers.contract import Failure, Target

POLL_MS = 80
MATCHES_MAX = 20
SELECTORS_MAX = 20
_ROLE = re.compile(r"(?P<role>[a-z]+)(?:\[name=(?P<quote>[\"']?)(?P<name>.*)(?P=quote)\])?")

_BY: Dict[str, Callable[[Any, str], Any]] = {
    "css": lambda page, text: page.locator("css=" + text),
    "xpath": lambda page, text: page.locator("xpath=" + text),
    "text": lambda page, text: page.get_by_text(text),
    "label": lambda page, text: page.get_by_label(text),
    "placeholder": lambda page, text: page.get_by_placeholder(text),
    "title": lambda page, text: page.get_by_title(text),
    "test": lambda page, text: page.get_by_test_id(text),
    "role": lambda page, text: _by_role(page, text),
}


def title(target: Target) -> str:
    """What people call the element."""
    return str(target.get("$object", "the element"))[:100]


def find(page: Any, target: Target, wait_s: float, is_over: Callable[[], bool]) -> Tuple[Optional[Any], str]:
    """The first visible element that a selector matches, and that selector; (None, "") when the time is over.

    Raises: Failure BAD_ARGUMENT for a selector that can't be read.
    """
    locators = [(text, _locator(page, text)) for text in target["selectors"][:SELECTORS_MAX]]
    found: Tuple[Optional[Any], str] = (None, "")

    def look() -> bool:
        nonlocal found
        for text, locator in locators:
            element = _first_visible(locator)
            if element is not None:
                found = (element, text)
                return True
        return is_over()

    poll(page, look, wait_s)
    return found


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


def _first_visible(locator: Any) -> Optional[Any]:
    """The first visible match. Errors within a navigation mean 'not yet'; a wrong selector is the script's."""
    try:
        for index in range(min(locator.count(), MATCHES_MAX)):
            element = locator.nth(index)
            if element.is_visible():
                return element
    except Exception as error:
        if "is not a valid" in str(error) or "Unexpected token" in str(error) or "parsing" in str(error):
            raise Failure("BAD_ARGUMENT", f"a selector can't be read: {str(error).splitlines()[0][:200]}") from error
    return None
