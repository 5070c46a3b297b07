"""How an action's answer is shown. Called by: every command that changes something through another service."""

from __future__ import annotations

from typing import Any

from cli import output


def show_action(answer: dict[str, Any], as_json: bool) -> None:
    """done, or pending: it is stored and will be done as soon as its owner answers."""
    if as_json:
        output.print_json(answer)
    else:
        output.say(describe(answer))


def describe(answer: dict[str, Any]) -> str:
    """An answer in words."""
    if answer["state"] == "pending":
        return f"asked for; not done yet (request {answer['command']})"
    return f"done{': ' + answer['reason'] if answer.get('reason') else ''}"
