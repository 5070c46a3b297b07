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
