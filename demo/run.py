"""`python -m demo.run`: let the partner's 12 tasks flow through a running installation, and say whether it all held.

As an operator would: store the portal's certificate, make the partner's endpoint, publish the workflow, authorise the
two robots. Then the partner pushes, and what comes out is compared with what each side saw for itself: the console the
tasks, the partner its verified deliveries and the pictures, the portal the submissions that can't be taken back.

Owns: the order of events. Called by: `make run`, people. Survives a crash: run it again; it pushes 12 new tasks, and
what the last run left behind is worked off as well. Change also: README.md, demo/README.md.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from pydantic import ValidationError
from rich.console import Console as Terminal

from demo.config import ROBOTS, Admin, DemoSettings
from demo.console import Console, ConsoleError, ConsoleUnreachable
from demo.partner.config import PartnerSettings, ensure_credentials, write_credentials
from demo.partner.push import PushRefused, TryAgain, push, read_tasks
from demo.progress import Progress
from demo.summary import Observed, judge
from demo.waiting import NotInTime, missing, until, until_answering, until_robots

ENDPOINT = "acme-results"
EVENTS = ["succeeded", "failed", "held"]
CERTIFICATE = "portal/acme"
POLL_S = 0.7
_HERE = Path(__file__).parent
_PORTAL_IN_SCRIPT = "https://127.0.0.1:8443"


class Demo:
    """One run of the demo."""

    def __init__(self, settings: DemoSettings, partner: PartnerSettings, admin: Admin, terminal: Terminal) -> None:
        self._settings = settings
        self._partner = partner
        self._admin = admin
        self._terminal = terminal
        self._portal = httpx.Client(base_url=settings.portal_origin, verify=_trust(settings), timeout=15)
        self._inbox = httpx.Client(base_url=partner.webhook_url.removesuffix("/webhooks"), timeout=15)
        self._collector = httpx.Client(base_url=admin.collector_url, timeout=30)

    def run(self) -> bool:
        """Do it; returns whether everything held."""
        with self._portal, self._inbox, self._collector, Console(self._admin) as console:
            self._prepare(console)
            submits_before = self._portal.get("/_demo/submits").json()["last"]
            inbox_before = self._inbox.get("/_demo/received").json()
            observed, batch = self._push()
            return self._watch(console, observed, batch, submits_before, inbox_before)

    def _prepare(self, console: Console) -> None:
        pki = self._settings.pki_folder
        password = (pki / "acme.p12.password").read_text()
        console.store_certificate(CERTIFICATE, (pki / "acme.p12").read_bytes(), password, self._settings.portal_origin)
        self._say(f"stored the portal's client certificate as the document {CERTIFICATE}")
        credentials = ensure_credentials(self._partner)
        console.store_endpoint(ENDPOINT, credentials.url, credentials.secret, EVENTS)
        handed_out = {"collector_url": self._admin.collector_url, "key": self._admin.key}
        write_credentials(self._partner, credentials.model_copy(update=handed_out))
        self._say(f"made the partner's endpoint {ENDPOINT} at {credentials.url}, and gave the partner its key")
        published = console.publish(workflow_files(self._settings.portal_origin))
        what = "is published already as" if published.get("unchanged") else "published as"
        self._say(f"workflow {published.get('name')} {what} version {published.get('number')}")
        until_robots(console, ROBOTS, self._settings.demo_start_s, self._say)

    def _push(self) -> tuple[Observed, str]:
        tasks = read_tasks(_HERE / "tasks.csv", f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        pushed = push(self._collector, self._admin.key, tasks)
        if pushed.rejected:
            raise PushRefused(f"tasks were rejected: {pushed.rejected}")
        self._say(f"the partner pushed {len(pushed.accepted)} tasks (batch {pushed.batches[0]})")
        return Observed(pushed=tasks), pushed.batches[0]

    def _watch(
        self, console: Console, observed: Observed, batch: str, submits_before: int, inbox_before: dict[str, Any]
    ) -> bool:
        started = time.monotonic()

        def look() -> bool:
            observed.tasks = {task["reference"]: task for task in console.tasks(batch)}
            self._read_inbox(observed, inbox_before)
            progress.show(observed)
            return observed.done()

        with Progress(self._terminal) as progress:
            finished = until(look, self._settings.demo_work_s, POLL_S)
        observed.seconds = time.monotonic() - started
        observed.submits = self._portal.get("/_demo/submits", params={"after": submits_before}).json()["by_reference"]
        observed.screenshots = self._fetch_screenshots(observed)
        return self._report(console, observed, finished)

    def _read_inbox(self, observed: Observed, before: dict[str, Any]) -> None:
        received = self._inbox.get("/_demo/received", params={"after": before["last"]}).json()
        mine = set(observed.references)
        observed.deliveries = [one for one in received["deliveries"] if one["content"]["data"]["reference"] in mine]
        observed.conflicts = received["conflicts"] - before["conflicts"]
        observed.rejected = received["rejected"] - before["rejected"]

    def _fetch_screenshots(self, observed: Observed) -> int:
        """Follow the deliveries' evidence links with the partner's key; count the pictures whose bytes fit."""
        fitting = 0
        headers = {"authorization": f"Bearer {self._admin.key}"}
        for one in observed.deliveries:
            for evidence in one["content"]["data"].get("evidence", []):
                if evidence["media_type"].startswith("image/"):
                    url = urljoin(self._admin.collector_url, evidence["url"])
                    if urlsplit(url).netloc != urlsplit(self._admin.collector_url).netloc:
                        continue  # The key is for the collector only.
                    answer = self._collector.get(url, headers=headers)
                    fitting += answer.is_success and hashlib.sha256(answer.content).hexdigest() == evidence["sha256"]
        return fitting

    def _report(self, console: Console, observed: Observed, finished: bool) -> bool:
        checks = judge(observed)
        holds = finished and all(check.holds for check in checks)
        self._terminal.print()
        self._terminal.print("[bold]Summary[/]")
        for check in checks:
            mark = "[green]✓[/]" if check.holds else "[bold red]✗[/]"
            self._terminal.print(f"  {mark} {check.text}", highlight=False)
        if not holds:
            self._terminal.print("[bold red]What is missing[/]" if not finished else "[bold red]What went wrong[/]")
            for line in missing(console, observed, ROBOTS):
                self._terminal.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
        self._where_to_look()
        return holds

    def _where_to_look(self) -> None:
        settings, home = self._settings, self._settings.home.absolute()
        rows = {
            "Console": f"{self._admin.url}  (user {self._admin.user}, password in {home / 'admin.json'})",
            "API docs": f"{self._admin.collector_url}/docs (partners), {self._admin.url}/docs (operators)",
            "Portal": f"{settings.portal_origin}  (import {home / 'demo' / 'pki' / 'acme.p12'} into a browser)",
            "Partner": f"{self._partner.webhook_url.removesuffix('/webhooks')}/_demo/received",
            "Logs": f"{home / 'logs'}, or the console's page Log, or `regente logs`",
        }
        self._terminal.print("[bold]Where to look[/]")
        for name, text in rows.items():
            self._terminal.print(f"  {name:9} {text}", highlight=False, markup=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        self._terminal.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)


def workflow_files(portal_origin: str) -> dict[str, str]:
    """The workflow's folder as texts, with the portal's address as it is here."""
    folder = _HERE / "workflow"
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.is_file()}
    return {name: text.replace(_PORTAL_IN_SCRIPT, portal_origin) for name, text in files.items()}


def _trust(settings: DemoSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.pki_folder / "ca.pem")


def main() -> int:
    """Run the demo; 0 when everything held, 1 when not, 2 when it could not begin."""
    terminal = Terminal()
    try:
        settings, partner = DemoSettings(), PartnerSettings()
        admin = until_answering(settings, partner)
        return 0 if Demo(settings, partner, admin, terminal).run() else 1
    except ValidationError as error:
        terminal.print(f"demo: a setting or admin.json is wrong: {error}", markup=False)
    except (ConsoleError, ConsoleUnreachable, PushRefused, TryAgain, NotInTime, OSError, httpx.HTTPError) as error:
        terminal.print(f"demo: {error}", markup=False, soft_wrap=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
