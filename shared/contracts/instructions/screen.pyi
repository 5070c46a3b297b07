"""What can be seen: the open page, or the whole desktop where there is one."""

@read(timeout_s=30)
def evidence(name: str) -> str:
    """Take a picture, keep it under this name, and give its sha256."""
