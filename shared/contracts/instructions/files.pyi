"""Files in the run's own folder on the robot; the folder goes when the run ends. Paths are relative to it."""

@act(timeout_s=30)
def write(path: str, text: str) -> None:
    """Write a text file (UTF-8), replacing it if it exists."""

@act(timeout_s=30)
def append(path: str, text: str) -> None:
    """Add text to the end of a file, making it if it does not exist."""

@read(timeout_s=30)
def read(path: str) -> str:
    """The text of a file (UTF-8, up to 1 MB)."""

@read(timeout_s=30)
def exists(path: str) -> bool:
    """Whether a file exists."""

@read(timeout_s=30)
def list(path: str = ".") -> list[str]:
    """Names in a folder, sorted; folders end in a slash."""

@act(timeout_s=30)
def delete(path: str) -> None:
    """Delete a file; LookupError when it does not exist."""

@act(timeout_s=60)
def keep(path: str, *, name: str | None = None) -> dict[str, str]:
    """Keep a file as evidence; gives name, sha256, size_bytes and media_type."""
