"""What a script asks of the server itself; none of it travels to a robot."""

from typing import NoReturn

class Object:
    """A named element of objects.yaml."""

class Secret:
    """A handle; its value never enters the script."""

def business_error(message: str) -> NoReturn:
    """End the task: its input is wrong, and trying again would not help."""

def login_rejected(message: str) -> NoReturn:
    """End the run: the portal refused the log-in. The workflow is held at once, before more tries lock the user out."""

def wait(seconds: float, *, release: bool = False) -> None:
    """Wait, up to 30 days; a crash does not start it anew. time.sleep(x) is the same. release=True: the robot does
    other work meanwhile, and setup runs again, on any robot, before the script goes on."""

def decide(
    question: str,
    *,
    options: list[str] = [],
    image: str | None = None,
    timeout: float | None = None,
    default: str | None = None,
    release: bool = False,
) -> str:
    """Ask a person and give the answer: one of the options, or any text. image: what screen.evidence gave. After
    timeout seconds the default is the answer; without one, TimeoutError."""
