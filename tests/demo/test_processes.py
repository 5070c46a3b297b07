"""What the demo asks the launcher to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.processes import processes


def test_portal_partner_and_two_robots_with_data_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGENTE_PORTAL_PORT", raising=False)
    env = {"REGENTE_PARTNER_PORT": "8191", "REGENTE_SCHEDULER_URL": "http://127.0.0.1:8202"}
    asked = {process.name: process for process in processes(tmp_path, env)}
    assert list(asked) == ["portal", "partner", "robot-1", "robot-2"]
    assert (asked["portal"].port, asked["partner"].port) == (8443, 8191)
    robots = [asked["robot-1"].env, asked["robot-2"].env]
    assert [robot["REGENTE_AGENT_ADDRESS"] for robot in robots] == ["02005e000001", "02005e000002"]
    assert {robot["REGENTE_SERVER_URL"] for robot in robots} == {"http://127.0.0.1:8202"}
    assert len({robot["REGENTE_AGENT_HOME"] for robot in robots}) == 2
    assert all(Path(robot["REGENTE_AGENT_CA_FILE"]).is_file() for robot in robots)
