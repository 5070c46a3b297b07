"""The set-up: makes .venv from the pinned requirements, with the machine's own python3 and the standard library only.

Called by: make (every target that needs the environment). Says what it installs and how long each step took. What
survives a crash: the stamp is written last, so a set-up that was cut off starts again; a stamp that fits ends it at
once. Change also: requirements*.in (what is pinned), parts.py (the servers)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / "regente-setup"
REQUIREMENTS = (ROOT / "requirements.txt", ROOT / "requirements-dev.txt")
DISTRIBUTIONS = (ROOT, ROOT / "agent", ROOT / "clients" / "python")
PROJECTS = tuple(folder / "pyproject.toml" for folder in DISTRIBUTIONS)
OLDEST = (3, 11)
CANDIDATES = ("python3.12", "python3.13", "python3.11")


class SetupFailed(Exception):
    """The set-up can't go on; the text says what to do."""


def main() -> int:
    """Make or check the environment; 0 when it is usable."""
    started = time.monotonic()
    try:
        wanted = stamp()
        if is_ready(wanted):
            print(f"set-up: .venv is up to date ({time.monotonic() - started:.1f} s)", flush=True)
            return 0
        build(suitable_python())
        STAMP.write_text(wanted, encoding="utf-8")
    except SetupFailed as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    print(f"set-up: done in {time.monotonic() - started:.1f} s", flush=True)
    return 0


def build(python: str) -> None:
    """Make .venv and fill it."""
    pinned = sum(
        1 for file in REQUIREMENTS for line in file.read_text(encoding="utf-8").splitlines() if line[:1].isalnum()
    )
    print(
        f"set-up: makes .venv with {python} and installs {pinned} pinned packages into it; nothing else is touched",
        flush=True,
    )
    if VENV.exists() and not is_usable():
        step("remove the old .venv", lambda: shutil.rmtree(VENV))
    pip = step("virtual environment", lambda: make_venv(python))
    files = [argument for file in REQUIREMENTS for argument in ("-r", str(file))]
    step("pinned packages", lambda: run([*pip, "install", "--quiet", "--require-hashes", *files]))
    own = [argument for folder in DISTRIBUTIONS for argument in ("-e", str(folder))]
    editable = ["--no-deps", "--no-build-isolation", *own]
    step("regente, regente-agent and regente-client", lambda: run([*pip, "install", "--quiet", *editable]))


def step(name: str, work: Callable[[], list[str] | None]) -> list[str]:
    """Do one part of the set-up, and say how long it took."""
    started = time.monotonic()
    print(f"  {name} ...", end="", flush=True)
    try:
        result = work()
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)
    return result or []


def suitable_python() -> str:
    """The interpreter for .venv: this one when it is new enough, else another on the machine.

    Raises: SetupFailed when there is none.
    """
    if sys.version_info >= OLDEST:
        return sys.executable
    for name in CANDIDATES:
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    have = ".".join(str(part) for part in sys.version_info[:3])
    raise SetupFailed(
        f"Python 3.11 or newer is needed, python3 here is {have}. Install python3.11, python3.12 or python3.13."
    )


def stamp() -> str:
    """What .venv is made from: every file that decides what is in it, and the folder it stands in."""
    digest = hashlib.sha256()
    for file in (*REQUIREMENTS, *PROJECTS):
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()} {ROOT}\n"


def is_ready(wanted: str) -> bool:
    """Whether the last set-up was finished, from the same files, and what it made still starts."""
    commands = (VENV / "bin" / "regente", VENV / "bin" / "regente-agent")
    if not (STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted):
        return False
    return all(file.exists() for file in commands) and is_usable()


def is_usable() -> bool:
    """Whether .venv has an interpreter that starts and finds its packages (an upgrade of the machine can take it
    away)."""
    python = VENV / "bin" / "python"
    check = (
        "import subprocess, sys, pathlib; "
        "home = pathlib.Path(sys.prefix, 'lib', 'python%d.%d' % sys.version_info[:2], 'site-packages'); "
        "sys.exit(sys.version_info < (3, 11) or not home.is_dir())"
    )
    try:
        return subprocess.run([str(python), "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv(python: str) -> list[str]:
    """Make .venv unless it is there, and answer with the pip to use: its own, or Debian's wheel when there is no
    ensurepip.

    Raises: SetupFailed when neither can be had.
    """
    STAMP.unlink(missing_ok=True)
    inside = str(VENV / "bin" / "python")
    if not VENV.exists():
        if not can(python, "import venv"):
            raise SetupFailed(f"{python} has no module venv. Install the package python3-venv.")
        run([python, "-m", "venv", *([] if can(python, "import ensurepip") else ["--without-pip"]), str(VENV)])
    return pip_command(inside)


def pip_command(inside: str) -> list[str]:
    """The pip for an interpreter: its own, or Debian's wheel, which runs as it is.

    Raises: SetupFailed when neither can be had.
    """
    pip = ["-m", "pip"] if can(inside, "import pip") else [str(debian_pip() / "pip")]
    return [inside, *pip, "--disable-pip-version-check"]


def debian_pip() -> Path:
    """Debian's pip wheel, unpacked under REGENTE_HOME and not installed: a wheel runs as it is.

    Raises: SetupFailed when it can't be fetched.
    """
    cache = Path(os.environ.get("REGENTE_HOME") or ROOT / ".regente") / "cache" / "pip"
    if not wheels(cache):
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise SetupFailed("this python3 has no pip and no ensurepip. Install the package python3-venv.")
        print(
            " (python3-venv is not installed: unpacking Debian's python3-pip-whl under REGENTE_HOME)",
            end="",
            flush=True,
        )
        cache.mkdir(parents=True, exist_ok=True)
        fetch_package("python3-pip-whl", cache)
    found = wheels(cache)
    if not found:
        raise SetupFailed("python3-pip-whl holds no pip wheel. Install the package python3-venv.")
    return found[0]


def wheels(cache: Path) -> list[Path]:
    """The pip wheels unpacked in `cache`."""
    return sorted(cache.glob("usr/share/python-wheels/pip-*.whl"))


def fetch_package(package: str, folder: Path) -> None:
    """Download a Debian package and unpack it in `folder`; refreshes apt's lists when they know it not."""
    # Lists that were never fetched make the first download fail; refreshing them needs root.
    download = ["apt-get", "download", "-q", package]
    if subprocess.run(download, cwd=folder, capture_output=True, check=False).returncode != 0:
        if os.geteuid() != 0:
            raise SetupFailed(f"apt-get can't download {package}. As root: apt-get update (or install python3-venv).")
        run(["apt-get", "update", "-q"])
        run(download, cwd=folder)
    for archive in folder.glob("*.deb"):
        run(["dpkg", "-x", str(archive), str(folder)])
        archive.unlink()


def can(python: str, code: str) -> bool:
    """Whether this interpreter runs that code."""
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def run(command: list[str], cwd: Path | None = None) -> None:
    """Run a command and keep its output for the error.

    Raises: SetupFailed with the end of its output.
    """
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise SetupFailed(f"`{' '.join(command[:6])} ...` ended with {done.returncode}:\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
