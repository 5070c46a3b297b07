"""A web browser with one window, driven on the robot. The browser opens with the first `open` of a run."""

from regente import Object, Secret

@act(timeout_s=60)
def open(url: str, *, certificate: Secret | None = None, timeout: float | None = None) -> None:
    """Go to an address, with a client certificate if one is given; returns when the page has loaded."""

@act(timeout_s=30)
def fill(target: Object, text: str | Secret, *, timeout: float | None = None) -> None:
    """Replace the text of a field."""

@act(timeout_s=30)
def click(target: Object, *, commit: bool = False, timeout: float | None = None) -> None:
    """Click an element once it can be clicked; commit=True marks what can't be taken back."""

@act(timeout_s=30)
def select(target: Object, option: str, *, timeout: float | None = None) -> None:
    """Choose an option of a list by its label or its value."""

@act(timeout_s=30)
def check(target: Object, on: bool = True, *, timeout: float | None = None) -> None:
    """Tick a box, or clear it."""

@act(timeout_s=30)
def press(keys: str, *, commit: bool = False, timeout: float | None = None) -> None:
    """Press a key or a combination such as Enter or Control+A in the page."""

@read(timeout_s=30)
def exists(target: Object, *, timeout: float | None = None) -> bool:
    """Whether an element appears within the time (5 s unless given); its absence is no error."""

@read(timeout_s=60)
def wait(target: Object, *, timeout: float | None = None) -> None:
    """Wait until an element is visible; TimeoutError when it does not appear in time."""

@read(timeout_s=30)
def text(target: Object, *, timeout: float | None = None) -> str:
    """The visible text of an element."""

@read(timeout_s=30)
def value(target: Object, *, timeout: float | None = None) -> str:
    """The value of a field."""

@read(timeout_s=10)
def url() -> str:
    """The address of the page that is open."""

@act(timeout_s=120)
def download(target: Object, *, name: str | None = None, timeout: float | None = None) -> dict[str, str]:
    """Click what starts a download and keep the file as evidence; gives name, sha256, size_bytes and media_type."""

@act(timeout_s=30)
def close() -> None:
    """Close the browser and forget its cookies."""
