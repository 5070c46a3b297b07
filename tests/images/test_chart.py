"""The chart by Helm, and what it makes by the schemas of Kubernetes."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from deploy.local.settings import PORTS, SERVICES
from docs.generate import ROOT
from tests.images.helm import Helm

CHART = ROOT / "deploy" / "helm" / "regente"
KUBERNETES = "1.31"
WHOLE: dict[str, Any] = {
    "autoscaling": {"enabled": True},
    "ingress": {
        "enabled": True, "className": "nginx", "tlsSecretName": "tls",
        "hosts": {"console": "console.example", "collector": "api.example"},
    },
    "serviceMonitor": {"enabled": True},
    "caSecretName": "ca",
    "userSecretPrefix": "user",
    "adminSecretName": "administrators",
    "proxies": "10.0.0.0/8",
    "bootstrap": {"claimName": "admin"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "x", "operator": "Exists"}],
    "image": {"pullSecrets": [{"name": "registry"}]},
}  # fmt: skip
CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}
"""Kinds of KEDA and of the Prometheus operator, whose schemas are not Kubernetes'."""


def test_helm_lints_it(helm: Helm) -> None:
    said = helm.lint(CHART)
    assert not said["Errors"]
    assert not said["Messages"]


@pytest.mark.parametrize("values", [{}, WHOLE], ids=["as it comes", "with everything"])
def test_what_it_makes_fits_kubernetes(helm: Helm, values: dict[str, Any]) -> None:
    made = helm.manifests(CHART, values)
    for document in made:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in made]
    assert len(names) == len(set(names))
    for service in SERVICES:
        assert {("Deployment", f"regente-{service}"), ("Service", f"regente-{service}")} <= set(names)
        assert ("PodDisruptionBudget", f"regente-{service}") in names
    assert (("ScaledObject", "regente-executor") in names) is bool(values)


def test_pods_are_hardened_probed_and_get_secrets_as_files(helm: Helm) -> None:
    made = helm.manifests(CHART, WHOLE)
    for one in made:
        if one["kind"] not in ("Deployment", "Job"):
            continue
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["enableServiceLinks"] is False, "or the settings would hold what Kubernetes says of its services"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert container["resources"]["limits"]["memory"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert environment["REGENTE_MASTER_KEY_FILE"] == "/run/secrets/regente/master_key"
        assert not any("secretKeyRef" in str(each) for each in container["env"])
        assert environment["REGENTE_CONSOLE_URL"] == "https://console.example"
        if one["kind"] == "Deployment":
            service = one["metadata"]["labels"]["app.kubernetes.io/component"]
            assert environment["REGENTE_HTTP_PORT"] == str(PORTS[service][1])
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    replicas = {one["metadata"]["name"]: one["spec"].get("replicas") for one in made if one["kind"] == "Deployment"}
    assert replicas["regente-executor"] is None, "KEDA says how many"
    assert replicas["regente-alerts"] == 2


def test_executors_follow_the_queue(helm: Helm) -> None:
    (scaled,) = [one for one in helm.manifests(CHART, WHOLE) if one["kind"] == "ScaledObject"]
    queue, cpu = scaled["spec"]["triggers"]
    assert queue["metadata"]["queueName"] == "executor.handoffs"
    assert queue["authenticationRef"]["name"] == "regente-executor"
    assert cpu["type"] == "cpu"
    assert scaled["spec"]["minReplicaCount"] == 2


def test_with_users_of_their_own_no_service_gets_an_administrators_address(helm: Helm) -> None:
    """Each pod mounts what is its own; only the job that makes the first account comes as the administrator."""
    for one in helm.manifests(CHART, WHOLE):
        if one["kind"] not in ("Deployment", "Job"):
            continue
        pod, component = one["spec"]["template"]["spec"], one["metadata"]["labels"]["app.kubernetes.io/component"]
        mounted = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
        own = "administrators" if one["kind"] == "Job" else f"user-{component}"
        assert mounted == {"secrets": "regente", "addresses": own, "certs": "ca"}
        environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        for name in ("AMQP_URL", "AMQP_ADMIN_URL", "MONGO_URL"):
            assert environment[f"REGENTE_{name}_FILE"] == f"/run/secrets/addresses/{name.lower()}"
    (trigger,) = [one for one in helm.manifests(CHART, WHOLE) if one["kind"] == "TriggerAuthentication"]
    assert trigger["spec"]["secretTargetRef"][0]["name"] == "administrators"


def test_without_them_all_use_the_same(helm: Helm) -> None:
    for one in helm.manifests(CHART, {}):
        if one["kind"] in ("Deployment", "Job"):
            pod = one["spec"]["template"]["spec"]
            assert [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] == ["regente"]
            environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
            assert environment["REGENTE_MONGO_URL_FILE"] == "/run/secrets/regente/mongo_url"
