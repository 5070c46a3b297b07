"""`python -m tests.audit`: bandit over the code, pip-audit over the pinned packages; `make audit`.

Exit code 1: bandit found something of medium severity or more, or a pinned package has a known vulnerability. Where the
registry gives no data about vulnerabilities, or can't be reached, that is said, and is no failure: it says nothing
about the packages. REGENTE_AUDIT_STRICT=1 makes it one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from docs.generate import ROOT

CODE = ("shared", "services", "cli", "deploy", "demo", "agent/regente_agent", "clients/python")
AUDIT_TIMEOUT_S = 300
STRICT = "REGENTE_AUDIT_STRICT"


def main() -> int:
    """Both; the exit code."""
    wrong = bandit()
    wrong += packages(os.environ.get(STRICT) == "1")
    for line in wrong:
        print(f"audit: {line}")
    return 1 if wrong else 0


def bandit() -> list[str]:
    """What bandit finds, of medium severity or more; what is justified is marked in the code with `nosec` and why."""
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-ll", "-r", *CODE, "-f", "json"], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)["results"]
    if not found:
        print("audit: bandit finds nothing of medium severity or more")
    return [f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text']}" for one in found]


def packages(strict: bool) -> list[str]:
    """Known vulnerabilities of what requirements.txt pins."""
    command = [
        sys.executable, "-m", "pip_audit", "-r", "requirements.txt", "--no-deps", "--disable-pip", "--timeout", "10",
        "--progress-spinner", "off", "-f", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=AUDIT_TIMEOUT_S, check=False)
        listed = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return _unknown("pip-audit got no answer", strict)
    found = [f"{one['name']} {one['version']}: {each['id']}" for one in listed for each in one.get("vulns") or ()]
    unknown = sum("skip_reason" in one for one in listed)
    if unknown:
        return found + _unknown(f"of {len(listed)} packages {unknown} could not be looked up", strict)
    if not found:
        print(f"audit: none of {len(listed)} packages has a known vulnerability")
    return found


def _unknown(text: str, strict: bool) -> list[str]:
    if strict:
        return [text]
    print(f"audit: {text} (no failure; {STRICT}=1 makes it one)")
    return []


if __name__ == "__main__":
    sys.exit(main())
