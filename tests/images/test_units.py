"""The units by systemd-analyze."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import parts
from deploy.local.settings import PORTS, SERVICES, read_settings
from docs.generate import ROOT

FOLDER = ROOT / "deploy" / "systemd"
EXPOSURE_MAX = 2.0
"""Of 10; below 4 is what systemd calls ok."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program, environment = parts.systemd_analyze(read_settings().home)
    return subprocess.run(
        [str(program), *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_every_service_has_a_unit_and_there_is_one_for_all() -> None:
    assert {path.stem for path in FOLDER.glob("*.service")} == {f"regente-{name}" for name in (*SERVICES, "standalone")}
    for name in SERVICES:
        text = (FOLDER / f"regente-{name}.service").read_text()
        assert f"-m services.{name}\n" in text
        assert f"REGENTE_HTTP_PORT={PORTS[name][1]}\n" in text
        assert "Type=notify\nWatchdogSec=30" in text
        assert f"EnvironmentFile=-/etc/regente/users/{name}/env\n" in text, "its own user, where there is one"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.service")), ids=lambda path: path.stem)
def test_a_unit_is_read_without_a_word_and_exposes_little(path: Path, tmp_path: Path) -> None:
    unit = tmp_path / path.name
    unit.write_text(path.read_text().replace("/opt/regente/bin/python", sys.executable))
    read = analyze("verify", "--man=no", str(unit))
    ours = [line for line in (read.stdout + read.stderr).splitlines() if path.stem in line]
    assert ours == []
    rated = analyze("security", "--offline=true", "--no-pager", str(unit))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert exposure is not None, rated.stdout + rated.stderr
    assert float(exposure[1]) <= EXPOSURE_MAX
