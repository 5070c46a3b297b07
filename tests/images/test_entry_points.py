"""Entry points run as the images run them: the package built and installed as the build stage does it, user 10001, a
read-only root file system in which only /tmp, shared memory and the home are written.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.settings import SERVICES, free_ports
from docs.generate import ROOT
from shared.domain.alert_rules import RuleKind
from tests.integration.collector.running import until

USER = 10001
PYTHON = f"/media/bin/python{sys.version_info.major}.{sys.version_info.minor}"
READY_S = 120.0
CONTENTS = ("shared", "services", "cli", "deploy")
LEFT_OUT = ("compose", "helm", "systemd", "images")
"""Of deploy, as .dockerignore has it."""
SANDBOX = """
set -eu
mount --make-rprivate /
for place in /mnt /srv /media; do
  mount --bind "$1" $place
  mount -o remount,ro,bind $place
  shift
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir /tmp/home
chown {user}:{user} /tmp/home
mount -o remount,ro,bind /
for place in {writable}; do ! mountpoint -q $place || mount -o remount,ro,bind $place; done
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all env -C /tmp/home "$@"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the image has under /opt/regente: the packages of requirements.txt and the built package."""
    folder = tmp_path_factory.mktemp("image")
    source, site = folder / "src", folder / "site"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in CONTENTS:
        left_out = shutil.ignore_patterns("__pycache__", "*.md", *LEFT_OUT)
        shutil.copytree(ROOT / name, source / name, ignore=left_out, symlinks=True)
    shutil.copytree(ROOT / "docs" / "runbooks", source / "docs" / "runbooks")  # .dockerignore lets these pages in
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True, timeout=300)
    folder.chmod(0o755)
    yield site
    shutil.rmtree(folder, ignore_errors=True)


def test_the_package_has_every_file(installed: Path) -> None:
    """Also what is no Python: pages, texts, stubs."""
    wanted = {
        str(path.relative_to(ROOT))
        for name in CONTENTS
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".md", ".pyc")
        and (path.parent / "__init__.py").exists() and path.parent != ROOT / "deploy" / "compose"
    }  # fmt: skip
    wanted |= {f"services/console/pages/runbooks/{kind}.md" for kind in RuleKind}
    there = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert wanted - there == set()


def as_image(installed: Path, argv: list[str], environment: dict[str, str], **more: Any) -> subprocess.Popen[bytes]:
    """Start a command with the image's user and file system, on this machine's network."""
    packages = Path("/srv") / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    script = SANDBOX.format(user=USER, writable="/var /root /home /run")
    whole = {
        "PATH": "/srv/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": f"/mnt:{packages}", "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "REGENTE_HOME": "/tmp/home", "PYTHONSAFEPATH": "1",
        "LD_LIBRARY_PATH": ":".join(filter(None, ["/media/lib", os.environ.get("LD_LIBRARY_PATH")])),
        **environment,
    }  # fmt: skip
    given = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mounted = [str(installed), sys.prefix, sys.base_prefix]
    return subprocess.Popen([*given, "sh", "-c", script, "sh", *mounted, *argv], env=whole, **more)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_as_its_image_runs_it(
    service: str, installed: Path, servers: Any, mongo_db: str, amqp_url: str, tmp_path: Path
) -> None:
    port = free_ports(("image",), start=27500)["image"]
    environment = {
        "REGENTE_AMQP_URL": amqp_url, "REGENTE_AMQP_ADMIN_URL": servers.amqp_admin, "REGENTE_MONGO_URL": servers.mongo,
        "REGENTE_MONGO_DB": mongo_db, "REGENTE_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
        "REGENTE_HTTP_PORT": str(port),
    }  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as out:
        child = as_image(installed, [PYTHON, "-m", f"services.{service}"], environment, stdout=out, stderr=out)
    try:

        def ready() -> bool:
            assert child.poll() is None, log.read_text()[-3000:]
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=3).status_code == 200
            return False

        until(ready, f"{service} is ready: {log.read_text()[-1500:]}", READY_S)
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}" in status
        probe = as_image(installed, [PYTHON, "-m", "shared.runtime.probe"], environment, stdout=subprocess.PIPE)
        said, _ = probe.communicate(timeout=60)
        assert probe.returncode == 0
        assert json.loads(said)["service"] == service
        child.terminate()
        assert child.wait(30) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    assert "Traceback" not in log.read_text()
    assert "Read-only file system" not in log.read_text()


def test_the_command_line_runs_as_its_image_runs_it(installed: Path) -> None:
    child = as_image(installed, [PYTHON, "-c", "from cli.main import app; app()", "--help"], {}, stdout=subprocess.PIPE)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert b"Usage" in said


def test_what_is_not_the_home_can_not_be_written(installed: Path) -> None:
    """The sandbox is what it says, or the tests above would show nothing."""
    attempt = "import sys, pathlib\nfor p in ('/x', '/mnt/x', '/var/x', '/usr/x'):\n    try:\n        pathlib.Path(p).touch()\n        sys.exit(p)\n    except OSError:\n        pass"  # noqa: E501
    child = as_image(installed, [PYTHON, "-c", attempt], {}, stderr=subprocess.PIPE)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
