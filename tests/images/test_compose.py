"""The compose files by the Compose specification, and by what they promise."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose.prepare import prepare
from deploy.local.settings import PORTS, SERVICES
from docs.generate import ROOT
from shared.contracts.rights import broker_rights, user_of

FOLDER = ROOT / "deploy" / "compose"
FILES = ("single.yaml", "cluster.yaml")
WRITERS = {"broker", "database", "grafana"}
"""Third-party images that write to their own file system when they start."""


def read(name: str) -> dict[str, Any]:
    """A compose file with its anchors resolved."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def kind(service: str) -> str:
    return re.sub(r"-(\d+|init)$", "", service)


@pytest.mark.parametrize("name", FILES)
def test_it_is_what_the_specification_says(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", FILES)
def test_services_are_hardened_and_watched(name: str) -> None:
    for service, spec in read(name)["services"].items():
        image = spec["image"].replace("${REGENTE_VERSION:-0.1.0}", "0.1.0")
        assert re.search(r":v?\d+\.\d+(\.\d+)?$", image), f"{service}: {image} is not pinned"
        assert spec.get("restart") or service == "setup"
        if kind(service) in SERVICES:
            assert spec["read_only"] is True
            assert spec["user"] == "10001:10001"
            assert spec["cap_drop"] == ["ALL"]
            assert spec["build"]["target"] == kind(service)
            assert spec["environment"]["REGENTE_INSTANCE"] == (service if "-" in service else f"{service}-1")
        if kind(service) in WRITERS and service != "database-init":
            assert spec.get("healthcheck") or service == "grafana", service
        if service not in ("setup", "database-init"):
            assert spec["deploy"]["resources"]["limits"]["memory"], service
            assert "no-new-privileges:true" in spec["security_opt"], service


@pytest.mark.parametrize("name", FILES)
def test_what_is_mounted_is_there(name: str, tmp_path: Path) -> None:
    composed = read(name)
    prepare(tmp_path / "secrets", cluster=name == "cluster.yaml")
    certificates = (FOLDER / "certificates.sh").read_text()
    for secret in composed["secrets"].values():
        assert (tmp_path / secret["file"]).exists(), secret
    for service, spec in composed["services"].items():
        assert set(spec.get("secrets", [])) <= set(composed["secrets"]), service
        for mount in spec.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./certs/"):
                stem = source.removeprefix("./certs/").partition(".")[0]
                assert stem == "ca" or re.sub(r"-\d$", "", stem) in certificates, mount
            elif source.startswith("./secrets/"):
                assert (tmp_path / source).is_dir(), mount
            elif source.startswith("."):
                assert (FOLDER / source).exists(), mount
            else:
                assert source in composed["volumes"], mount


def test_secrets_are_made_once_and_only_ours_to_enter(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    prepare(folder, cluster=False)
    before = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    prepare(folder, cluster=False)
    assert {name: (folder / name).read_text() for name in before} == before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert before["amqp_password"] in before["amqp_url"]
    assert before["amqp_password"] not in before["definitions.json"]
    assert json.loads(before["definitions.json"])["users"][0]["name"] == "regente"
    for name in SERVICES:
        urls = {key: before[f"users/{name}/{key}"] for key in ("amqp_url", "amqp_admin_url", "mongo_url")}
        looks = bool(broker_rights(name).tags)
        assert bool(urls["amqp_admin_url"]) is looks
        for url in urls.values() if looks else (urls["amqp_url"], urls["mongo_url"]):
            assert f"//{user_of(name)}:{before[f'users/{name}/password']}@" in url
    assert len({before[f"users/{name}/password"] for name in SERVICES}) == len(SERVICES)


@pytest.mark.parametrize("name", FILES)
def test_only_what_sets_up_gets_an_administrators_address(name: str) -> None:
    """Each service has its own user's addresses, after the users were made."""
    for service, spec in read(name)["services"].items():
        if kind(service) in SERVICES:
            assert spec["secrets"] == ["master_key"], service
            assert f"./secrets/users/{kind(service)}:/run/user:ro" in spec["volumes"], service
            assert "users" in spec["depends_on"], service
            assert spec["environment"]["REGENTE_MONGO_URL_FILE"] == "/run/user/mongo_url"
        elif service in ("users", "setup"):
            assert spec["environment"]["REGENTE_MONGO_URL_FILE"] == "/run/secrets/mongo_url"
            assert "8000" in spec["environment"]["REGENTE_CONSOLE_URL"], "it stands in admin.json"
    assert "users" not in read(name)["services"]["users"]["depends_on"]


def test_a_cluster_has_several_of_each_and_the_proxy_and_prometheus_know_all() -> None:
    services = read("cluster.yaml")["services"]
    proxy = (FOLDER / "haproxy.cfg").read_text()
    jobs = {one["job_name"]: one["static_configs"][0]["targets"] for one in
            yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]}  # fmt: skip
    assert {f"{name}-{n}" for name in ("broker", "database") for n in (1, 2, 3)} <= set(services)
    for name in SERVICES:
        port = PORTS[name][1]
        for n in (1, 2):
            assert f"{name}-{n}" in services
            assert f"server {name}-{n} {name}-{n}:{port} check" in proxy
        assert jobs[f"regente-{name}"] == [f"{name}-1:{port}", f"{name}-2:{port}"]


def test_the_proxys_configuration_is_read_by_haproxy(tmp_path: Path) -> None:
    """With paths and names that exist here; its TLS and its resolvers stay."""
    from deploy.local import parts
    from deploy.local.settings import read_settings
    from tests.images.pems import pem

    program, environment = parts.haproxy(read_settings().home)
    both, authority = pem(tmp_path)
    text = (FOLDER / "haproxy.cfg").read_text()
    text = text.replace("/run/certs/proxy.pem", str(both)).replace("/run/certs/ca.pem", str(authority))
    (tmp_path / "haproxy.cfg").write_text(text)
    command = [str(program), "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(command, env={**environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
