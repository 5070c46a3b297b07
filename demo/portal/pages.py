"""The portal's pages, as a taxpayer's representative walks through them.

/login -> /search -> /taxpayers/{registration} (slow; its button appears late) -> POST /certificates
-> /certificates/{protocol} -> its receipt.pdf.

Owns: the routes and who may see them. Called by: browsers. Survives a crash: nothing lives here (see store.py).
Change also: demo/workflow/objects.yaml, which names the elements of templates/ by id, label and text.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from demo.portal import register
from demo.portal.receipt import receipt
from demo.portal.store import Store, Submit
from demo.portal.switches import Faults
from demo.portal.tls import Client, client_of

COOKIE = "aurora_session"
FORM_BYTES_MAX = 16 * 1024
KINDS = {
    "clearance": "Tax clearance certificate",
    "registration": "Certificate of registration",
    "withholding": "Withholding statement",
}
PERIOD = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")
REFERENCE_LENGTH_MAX = 80

router = APIRouter()
_templates = Jinja2Templates(directory=Path(__file__).parent / "templates")


class NotSignedIn(Exception):
    """No certificate, or no session begun with it: the reader is sent to the log-in page."""


async def on_not_signed_in(request: Request, error: Exception) -> Response:
    """Send the reader to the log-in page, which says what is missing."""
    return RedirectResponse("/login", status_code=303)


@router.get("/")
async def home() -> Response:
    """The front door is the log-in page."""
    return RedirectResponse("/login", status_code=303)


@router.get("/login")
async def login_page(request: Request) -> Response:
    """Who the certificate says you are; without one, a refusal that says what to do."""
    client = client_of(request)
    if client is None:
        return _page(request, "refused.html", None, status=403)
    return _page(request, "login.html", client, signed_in=False)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Begin a session for the certificate of this connection."""
    client = client_of(request)
    if client is None:
        return _page(request, "refused.html", None, status=403)
    token = await run_in_threadpool(
        _store(request).open_session, client.fingerprint, client.name, client.organisation, _now()
    )
    answer = RedirectResponse("/search", status_code=303)
    answer.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="strict")
    return answer


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End the session."""
    await run_in_threadpool(_store(request).close_session, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
    return answer


@router.get("/search")
async def search_page(request: Request, registration: str = "") -> Response:
    """Look a registration up: its record if it is known, else a message in the page."""
    client = await _signed_in(request)
    if not registration:
        return _page(request, "search.html", client)
    found = register.find(registration)
    if found is None:
        return _page(request, "search.html", client, typed=registration[:40], unknown=True, status=404)
    return _page(request, "search.html", client, typed=registration, found=found)


@router.get("/certificates")
async def certificates_page(request: Request) -> Response:
    """What was issued lately, newest first."""
    client = await _signed_in(request)
    issued = await run_in_threadpool(_store(request).submits)
    return _page(request, "issued_list.html", client, issued=[_shown(one) for one in reversed(issued[-50:])])


@router.get("/taxpayers/{registration}")
async def taxpayer_page(request: Request, registration: str) -> Response:
    """The record of one taxpayer with the form; slow, because the ledgers are asked."""
    client = await _signed_in(request)
    faults = _faults(request)
    if faults.take_failing_page():
        return _page(request, "unavailable.html", client, status=503)
    found = register.find(registration)
    if found is None:
        return _page(request, "search.html", client, typed=registration[:40], unknown=True, status=404)
    await asyncio.sleep(faults.now.slow_page_s)
    return _record(request, client, found, {})


@router.post("/certificates")
async def issue(request: Request) -> Response:
    """Issue a certificate: it can't be taken back, and every time it comes it is another one."""
    client = await _signed_in(request)
    form = await _form(request)
    found = register.find(form.get("registration", ""))
    if found is None:
        return _page(request, "search.html", client, typed=form.get("registration", "")[:40], unknown=True, status=404)
    errors = _errors(form)
    if errors:
        return _record(request, client, found, errors, form)
    faults = _faults(request)
    if faults.take_failing_submit():
        return _page(request, "unavailable.html", client, status=500)
    submit = await run_in_threadpool(
        _store(request).add_submit,
        found.registration, form["kind"], form["period"], form.get("reference", ""), client.name, _now(),
    )  # fmt: skip
    await faults.hold_submit()
    return RedirectResponse(f"/certificates/{submit.protocol}", status_code=303)


@router.get("/certificates/{protocol}")
async def issued_page(request: Request, protocol: str) -> Response:
    """The certificate that was issued, with its protocol number."""
    client = await _signed_in(request)
    submit = await run_in_threadpool(_store(request).submit, protocol)
    if submit is None:
        return _page(request, "missing.html", client, status=404)
    return _page(request, "issued.html", client, submit=_shown(submit))


@router.get("/certificates/{protocol}/receipt.pdf")
async def receipt_file(request: Request, protocol: str) -> Response:
    """The receipt as a PDF file to download."""
    client = await _signed_in(request)
    submit = await run_in_threadpool(_store(request).submit, protocol)
    if submit is None:
        return _page(request, "missing.html", client, status=404)
    shown = _shown(submit)
    rows = [(label, str(shown[name])) for name, label in _RECEIPT_ROWS.items()]
    content = receipt(str(shown["title"]), rows, "Demonstration only: this portal and its taxpayers do not exist.")
    name = f"receipt-{submit.protocol}.pdf"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/pdf", headers=headers)


_RECEIPT_ROWS = {
    "protocol": "Protocol number",
    "registration_shown": "Registration",
    "name": "Taxpayer",
    "period": "Period",
    "reference": "Your reference",
    "client": "Requested by",
    "when": "Issued at (UTC)",
}


async def _signed_in(request: Request) -> Client:
    client = client_of(request)
    token = request.cookies.get(COOKIE, "")
    if client is None or not await run_in_threadpool(_store(request).has_session, token, client.fingerprint):
        raise NotSignedIn
    return client


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return {}
    fields = parse_qs(body.decode("utf-8", errors="replace"), keep_blank_values=True, max_num_fields=50)
    return {name: values[-1].strip() for name, values in fields.items()}


def _errors(form: dict[str, str]) -> dict[str, str]:
    errors = {}
    if form.get("kind") not in KINDS:
        errors["kind"] = "Choose the certificate that you need."
    if not PERIOD.fullmatch(form.get("period", "")):
        errors["period"] = "Write the period as year and month, such as 2026-10."
    if len(form.get("reference", "")) > REFERENCE_LENGTH_MAX:
        errors["reference"] = f"At most {REFERENCE_LENGTH_MAX} characters."
    return errors


def _record(
    request: Request,
    client: Client,
    taxpayer: register.Taxpayer,
    errors: dict[str, str],
    form: dict[str, str] | None = None,
) -> Response:
    return _page(
        request, "taxpayer.html", client, taxpayer=taxpayer, errors=errors, form=form or {}, kinds=KINDS,
        late_ms=int(_faults(request).now.late_element_s * 1000), status=422 if errors else 200,
    )  # fmt: skip


def _shown(submit: Submit) -> dict[str, Any]:
    taxpayer = register.find(submit.registration)
    when = datetime.fromisoformat(submit.submitted_at)
    return {
        **submit.as_json(),
        "title": KINDS.get(submit.kind, submit.kind),
        "name": taxpayer.name if taxpayer else "",
        "registration_shown": taxpayer.shown if taxpayer else submit.registration,
        "when": f"{when:%Y-%m-%d %H:%M:%S}",
    }


def _page(request: Request, name: str, client: Client | None, *, status: int = 200, **values: Any) -> HTMLResponse:
    context = {"client": client, "signed_in": client is not None, "now": datetime.now(UTC), **values}
    headers = {"cache-control": "no-store"}
    return _templates.TemplateResponse(request, name, context, status_code=status, headers=headers)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _faults(request: Request) -> Faults:
    faults: Faults = request.app.state.faults
    return faults
