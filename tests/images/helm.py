"""Helm itself, as a library out of a wheel, against an API server of our own that only takes notes.

Helm lints the chart, and installs it: what it would hand to Kubernetes is in the release that it stores first.
"""

from __future__ import annotations

import base64
import ctypes
import gzip
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

KINDS: Mapping[str, tuple[str, ...]] = {
    "v1": ("Secret", "Service", "ConfigMap", "Pod"),
    "apps/v1": ("Deployment",),
    "batch/v1": ("Job",),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "keda.sh/v1alpha1": ("ScaledObject", "TriggerAuthentication"),
    "monitoring.coreos.com/v1": ("ServiceMonitor",),
}


class Helm:
    """One library, one recorder."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.helm_sdkpy_last_error.restype = ctypes.c_char_p
        self._recorder = _Recorder()
        config = folder / "kubeconfig"
        config.write_text(yaml.safe_dump(_kubeconfig(self._recorder.url)))
        self._handle = ctypes.c_ulonglong()
        self._call("config_create", b"default", str(config).encode(), None, b"{}", ctypes.byref(self._handle))

    def lint(self, chart: Path) -> dict[str, Any]:
        """What Helm's linter says; it renders every template."""
        return self._result("lint", str(chart).encode())

    def manifests(self, chart: Path, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The documents that Helm makes of the chart with these values.

        Raises: AssertionError with Helm's words when it can't.
        """
        self._recorder.release = None
        options = {"disable_openapi_validation": True, "timeout_seconds": 1, "server_side_apply": "false"}
        out = ctypes.c_char_p()
        code = self._library.helm_sdkpy_install(
            self._handle, b"regente", str(chart).encode(), json.dumps(values).encode(), None,
            json.dumps(options).encode(), ctypes.byref(out),
        )  # fmt: skip
        release = self._recorder.release
        assert release is not None, (code, self._library.helm_sdkpy_last_error(), self._recorder.asked[-5:])
        hooks = [hook["manifest"] for hook in release.get("hooks") or ()]
        text = "\n---\n".join([release["manifest"], *hooks])
        return [document for document in yaml.safe_load_all(text) if document]

    def close(self) -> None:
        """Stop the recorder."""
        self._recorder.close()

    def _result(self, name: str, *arguments: Any) -> dict[str, Any]:
        out = ctypes.c_char_p()
        self._call(name, self._handle, *arguments, ctypes.byref(out))
        found: dict[str, Any] = json.loads(out.value or b"{}")
        return found

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, f"helm_sdkpy_{name}")(*arguments)
        assert code == 0, (name, self._library.helm_sdkpy_last_error())


class _Recorder:
    """As much of Kubernetes' API as Helm asks before it stores a release."""

    def __init__(self) -> None:
        self.release: dict[str, Any] | None = None
        self.asked: list[str] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                recorder.asked.append(f"GET {self.path}")
                found = _discovery(self.path.partition("?")[0])
                self._answer(200 if found else 404, found or _status(404))

            def do_POST(self) -> None:
                recorder.asked.append(f"POST {self.path}")
                body = self.rfile.read(int(self.headers["content-length"]))
                stored = re.search(rb"H4sI[A-Za-z0-9+/=]+", body)  # gzip in base64, whatever the secret is wrapped in
                if stored and self.path.startswith("/api/v1/namespaces/default/secrets"):
                    recorder.release = json.loads(gzip.decompress(base64.b64decode(stored[0])))
                self._answer(409, _status(409))  # noted; Helm gives up here

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _discovery(path: str) -> dict[str, Any] | None:
    groups = [version for version in KINDS if "/" in version]
    if path == "/version":
        return {"major": "1", "minor": "31", "gitVersion": "v1.31.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        listed = [
            {"name": one.partition("/")[0], "versions": [{"groupVersion": one, "version": one.partition("/")[2]}],
             "preferredVersion": {"groupVersion": one, "version": one.partition("/")[2]}}
            for one in groups
        ]  # fmt: skip
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in KINDS:
        resources = [
            {"name": _plural(kind), "singularName": kind.lower(), "namespaced": True, "kind": kind,
             "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}
            for kind in KINDS[version]
        ]  # fmt: skip
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
    if path.endswith("/secrets"):
        return {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}
    return None


def _plural(kind: str) -> str:
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}es" if lower.endswith("s") else f"{lower}s"


def _status(code: int) -> dict[str, Any]:
    reason = {404: "NotFound", 409: "AlreadyExists"}.get(code, "")
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
