"""The sync client. aio.py is the same with await: change both.

What is sent and read stands in calls.py, what is repeated and when in retry.py.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, TypeVar

import httpx

from regente_client import calls
from regente_client.calls import COLLECTOR, DELIVERY, ITEMS_MAX, Call
from regente_client.errors import Conflict, NotFound, WaitTimedOut
from regente_client.models import Batch, Endpoint, File, NewTask, Page, Pushed, Task
from regente_client.retry import Attempts, RetryPolicy

TIMEOUT_S = 60.0
USER_AGENT = "regente-client/0.1"
LOOK_S = (0.2, 5.0)
"""While waiting for a task: the first and the longest pause between two looks."""
T = TypeVar("T")


class Client:
    """Regente, for one partner.

        with Client("https://regente.example", key="rgk_...") as regente:
            pushed = regente.push("tax-certificate", [NewTask("order-1", {"registration": "12"})])

    collector: address of the collector. delivery: address of delivery; none: both stand behind the same one. key: the
    partner's key. retry: how calls are repeated. timeout_s: of one attempt. transport, sleep: for tests.
    """

    def __init__(
        self,
        collector: str,
        *,
        key: str,
        delivery: str | None = None,
        retry: RetryPolicy | None = None,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._addresses = {COLLECTOR: collector.rstrip("/"), DELIVERY: (delivery or collector).rstrip("/")}
        self._retry = retry or RetryPolicy()
        self._timeout_s = timeout_s
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT}
        self._http = httpx.Client(headers=headers, timeout=timeout_s, transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    # tasks

    def push(
        self,
        workflow: str,
        tasks: Iterable[NewTask | Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        items_max: int = ITEMS_MAX,
    ) -> Pushed:
        """Hand tasks in, in as many requests as it takes. Pushing the same again makes nothing new.

        tasks: NewTask, or dictionaries as in the API. idempotency_key: one of your own, to get the first answer again
        when your process dies in between. items_max: tasks in one request.
        """
        found = list(self.push_each(workflow, tasks, idempotency_key=idempotency_key, items_max=items_max))
        return Pushed.sum(found)

    def push_each(
        self,
        workflow: str,
        tasks: Iterable[NewTask | Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        items_max: int = ITEMS_MAX,
    ) -> Iterator[Pushed]:
        """As `push`, but answers request by request: for sources that do not fit into memory."""
        for chunk in calls.chunks(tasks, items_max):
            yield self._call(calls.push(workflow, chunk, idempotency_key))

    def task(self, id: str) -> Task:
        """A task as it stands now."""
        return self._call(calls.task(id))

    def tasks(
        self,
        *,
        workflow: str | None = None,
        state: str | None = None,
        reference: str | None = None,
        page_size: int = 200,
    ) -> Iterator[Task]:
        """The account's tasks, newest first, page by page."""
        filters, cursor = {"workflow": workflow, "state": state, "reference": reference}, None
        while True:
            found, cursor = self._call(calls.tasks(filters, page_size, cursor))
            yield from found
            if cursor is None:
                return

    def cancel(self, id: str) -> Task:
        """Call a task off. One that runs ends at its next instruction: look at the state.

        Raises: Conflict when it has ended.
        """
        try:
            return self._call(calls.cancel(id))
        except Conflict as error:
            # An attempt whose answer was lost may have done it.
            if error.attempts > 1 and (task := self.task(id)).state == "cancelled":
                return task
            raise

    def batch(self, id: str) -> Batch:
        """One request of a push, and where its tasks stand."""
        return self._call(calls.batch(id))

    def wait(self, id: str, timeout_s: float = 300.0, *, held: bool = False) -> Task:
        """Look at a task until it has ended. held: also return when it waits for a person.

        Raises: WaitTimedOut.
        """
        deadline_s, pause_s = time.monotonic() + timeout_s, LOOK_S[0]
        while True:
            task = self.task(id)
            if task.is_final or (held and task.state == "held"):
                return task
            if time.monotonic() + pause_s > deadline_s:
                raise WaitTimedOut(f"task {id} is {task.state} after {timeout_s:g} s")
            self._sleep(pause_s)
            pause_s = min(pause_s * 1.5, LOOK_S[1])

    # files

    def upload(
        self,
        name: str,
        data: bytes,
        media_type: str = "application/octet-stream",
        *,
        idempotency_key: str | None = None,
    ) -> File:
        """Store a file (up to 50 MB); its id may stand in an input."""
        return self._call(calls.upload(name, data, media_type, idempotency_key))

    def file(self, id: str) -> bytes:
        """The bytes of an uploaded file."""
        return self._call(calls.file(id))

    def evidence(self, id: str) -> bytes:
        """The bytes of a piece of evidence."""
        return self._call(calls.evidence(id))

    # results

    def results(
        self,
        after: str | None = None,
        *,
        reader: str | None = None,
        wait_s: float = 20.0,
        page_size: int = 100,
        follow: bool = True,
    ) -> Iterator[Page]:
        """Outcomes in their fixed order, behind the cursor `after`.

        reader: without a cursor, go on behind what was acknowledged under this name (`acknowledge`). wait_s: how long
        the service holds a request open while nothing is new. follow: false ends with what there is now.
        Every entry comes once; keep `page.after` when you have dealt with a page.
        """
        while True:
            page, more = self._call(calls.results(after, reader, page_size, wait_s if follow else 0.0))
            if page.items:
                yield page
            elif follow:
                self._sleep(LOOK_S[0])  # a service that does not hold the request open is not asked in a loop
            after = page.after
            if not (more or follow):
                return

    def acknowledge(self, after: str, reader: str) -> None:
        """Let the service keep how far you have got: `after` of a page that you have dealt with."""
        self._call(calls.acknowledge(after, reader))

    # endpoints

    def put_endpoint(
        self, name: str, url: str, *, secret: str | None = None, events: Iterable[str] | None = None, **settings: Any
    ) -> Endpoint:
        """Make or change an endpoint.

        secret: use webhooks.new_secret() for a new one: the service makes one else and shows it once, and an answer
        that is lost on its way loses it. settings: further fields of the API.
        """
        fields = {"url": url, "secret": secret, "events": None if events is None else list(events), **settings}
        return self._call(calls.put_endpoint(name, fields))

    def endpoints(self) -> Iterator[Endpoint]:
        """The account's endpoints by name."""
        cursor = None
        while True:
            found, cursor = self._call(calls.endpoints(200, cursor))
            yield from found
            if cursor is None:
                return

    def delete_endpoint(self, name: str) -> None:
        """Remove an endpoint. Raises: NotFound."""
        try:
            self._call(calls.delete_endpoint(name))
        except NotFound as error:
            if error.attempts == 1:
                raise

    def _call(self, call: Call[T]) -> T:
        attempts = Attempts(self._retry, time.monotonic())
        while True:
            try:
                answer = self._http.request(
                    call.method,
                    self._addresses[call.service] + call.path,
                    params=call.params,
                    headers=call.headers,
                    content=call.content,
                    timeout=self._timeout_s + call.waits_s,
                )
            except httpx.UnsupportedProtocol:
                raise
            except (httpx.TransportError, httpx.DecodingError) as error:
                wait_s = attempts.failed(error, now_s=time.monotonic(), chance=random.random())
            else:
                now_s, at = time.monotonic(), datetime.now(timezone.utc)
                again_s = attempts.answered(
                    answer.status_code, answer.headers, answer.content, now_s=now_s, chance=random.random(), at=at
                )
                if again_s is None:
                    return call.read(answer.content)
                wait_s = again_s
            self._sleep(wait_s)
