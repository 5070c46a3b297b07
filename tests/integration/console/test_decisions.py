"""Decisions by API and by link: who may, what is refused, what a link's page gives away (nothing else)."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.console.site import (
    ACME,
    PNG,
    Site,
    answer_commands,
    answer_decisions,
    decision_link,
    decision_token,
    now,
    put_decision,
    put_evidence,
    put_task,
)


def post(console: Site, id: str, answer: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{console.url}/d/{id.replace('/', '.')}",
        data={"t": decision_token(id), "answer": answer},
        headers=headers,
        timeout=20,
    )


def test_the_api_lists_shows_and_answers(console: Site) -> None:
    id = put_decision(console, workflow="api-flow", question="Pay?", options=["pay", "wait"])
    put_decision(console, workflow="api-flow", state="answered", answer="pay", by="otto", at=now())
    address = id.replace("/", ".")
    with console.client("otto") as http, answer_decisions(console) as requests:
        listed = http.get("decisions", params={"workflow": "api-flow", "state": "open"}).json()["items"]
        assert [one["id"] for one in listed] == [id]
        first = http.get("decisions", params={"workflow": "api-flow", "limit": 1}).json()
        assert (len(first["items"]), bool(first["next"])) == (1, True)
        assert http.get(f"decisions/{address}").json()["options"] == ["pay", "wait"]
        assert http.post(f"decisions/{address}/answer", json={"answer": "maybe"}).status_code == 422
        done = http.post(f"decisions/{address}/answer", json={"answer": "pay"})
        assert (done.status_code, done.json()["state"]) == (200, "done")
        assert http.post(f"decisions/{address}/answer", json={"answer": "pay"}).status_code == 409
        assert http.get(f"decisions/{address}").json()["by"] == "otto"
    (request,) = requests
    assert (request["kind"], request["to"], request["target"]) == ("decision.answer", "executor", id)
    assert (request["args"], request["by"]) == ({"answer": "pay"}, "otto")
    audited = console.db["audit"].find_one({"action": "decision.answer", "target": id})
    assert audited is not None
    assert (audited["by"], audited["account"], audited["details"]["answer"]) == ("otto", ACME, "pay")


def test_an_executor_that_is_away_is_waited_for(console: Site) -> None:
    id = put_decision(console)
    with console.client("otto") as http:
        answer = http.post(f"decisions/{id.replace('/', '.')}/answer", json={"answer": "yes"})
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    console.db["commands"].delete_many({"target": id})


def test_operators_get_the_link_and_it_is_audited(console: Site) -> None:
    id = put_decision(console)
    with console.client("otto") as http:
        url = http.get(f"decisions/{id.replace('/', '.')}/link").json()["url"]
    assert urlsplit(url).path == f"/d/{id.replace('/', '.')}"
    assert urlsplit(url).query == f"t={decision_token(id)}"
    assert console.db["audit"].count_documents({"action": "decision.link", "target": id, "by": "otto"}) == 1


def test_the_link_answers_without_a_log_in(console: Site) -> None:
    id = put_decision(console, question="Pay?", options=["pay", "wait"])
    with answer_decisions(console) as requests:
        page = httpx.get(decision_link(console, id))
        assert page.status_code == 200
        assert "set-cookie" not in page.headers
        wanted = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-frame-options": "DENY"}
        assert {name: page.headers[name] for name in wanted} == wanted
        assert "unsafe" not in page.headers["content-security-policy"]
        posted = post(console, id, "pay")
        assert posted.status_code == 303
        assert "Thank you." in httpx.get(console.url + posted.headers["location"]).text
        again = post(console, id, "wait")
        assert (again.status_code, "too late" in again.text) == (409, True)
    assert [(one["args"], one["by"]) for one in requests] == [({"answer": "pay"}, "link")]
    shown = httpx.get(decision_link(console, id)).text
    assert "This was answered." in shown
    assert "<form" not in shown
    audited = console.db["audit"].find_one({"action": "decision.answer", "target": id})
    assert audited is not None
    assert (audited["by"], audited["details"]["address"]) == ("link", "127.0.0.1")


def test_a_double_press_is_one_answer(console: Site) -> None:
    id = put_decision(console)
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(post(console, id, "yes").status_code)) for _ in range(2)]
    with answer_decisions(console):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 303 in codes
        assert set(codes) <= {303, 409}
    found = console.db["decisions"].find_one({"_id": id})
    assert found is not None
    assert (found["state"], found["answer"]) == ("answered", "yes")


def test_an_answer_on_its_way_is_not_asked_for_again(console: Site) -> None:
    id = put_decision(console)
    assert post(console, id, "yes").status_code == 303
    assert post(console, id, "no").status_code == 303
    assert console.db["commands"].count_documents({"target": id}) == 1
    page = httpx.get(decision_link(console, id)).text
    assert "Your answer was received." in page
    assert "<form" not in page
    assert 'http-equiv="refresh"' in page
    console.db["commands"].delete_many({"target": id})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "answered", "answer": "yes", "by": "otto", "at": now()}, "otto"),
        ({"state": "expired", "answer": "no", "at": now()}, "Time is up"),
        ({"state": "withdrawn", "at": now()}, "withdrawn"),
        ({"due_at": now() - timedelta(seconds=5)}, "Time is up"),
    ],
)
def test_what_is_over_shows_no_form(console: Site, fields: dict[str, object], text: str) -> None:
    page = httpx.get(decision_link(console, put_decision(console, **fields)))
    assert page.status_code == 200
    assert text in page.text
    assert "<form" not in page.text


def test_a_refused_answer_is_said(console: Site) -> None:
    id = put_decision(console)
    with answer_commands(console, "refused", "the run has ended"):
        answer = post(console, id, "yes")
    assert (answer.status_code, "Your answer was not taken." in answer.text) == (409, True)
    other = post(console, id, "perhaps")
    assert (other.status_code, "<form" in other.text) == (422, True)


def test_free_text_is_taken_and_bounded(console: Site) -> None:
    id = put_decision(console, options=[], question="What does the picture say?")
    assert post(console, id, "").status_code == 422
    assert post(console, id, "x" * 1001).status_code == 422
    assert post(console, id, "x" * 20_000).status_code == 404  # no form of ours: not even its token is read
    with answer_decisions(console) as requests:
        assert post(console, id, "  line one\r\nline <two> ").status_code == 303
    assert requests[0]["args"] == {"answer": "line one\nline <two>"}
    assert "line &lt;two&gt;" in httpx.get(decision_link(console, id)).text


def test_a_wrong_token_is_the_same_as_no_decision(console: Site) -> None:
    id, other = put_decision(console), put_decision(console)
    path = f"{console.url}/d/{id.replace('/', '.')}"
    gone = "run_ffff/00000001"
    answers = [
        httpx.get(f"{path}?t={decision_token(other)}"),
        httpx.get(f"{path}?t="),
        httpx.get(path),
        httpx.get(f"{path}?t={decision_token(id)[:-1]}"),
        httpx.get(decision_link(console, gone)),
        httpx.get(f"{console.url}/d/nonsense?t=%F0%28"),
        httpx.get(f"{path}/image?t={decision_token(other)}"),
        httpx.post(path, data={"t": decision_token(other), "answer": "yes"}),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert console.db["commands"].count_documents({"target": id}) == 0


def test_only_its_own_picture_is_shown(console: Site) -> None:
    task = put_task(console)
    run = "run_withpicture"
    own = put_evidence(console, run, task, 11, "screen")
    id = put_decision(console, run=run, image=own, task=task)
    foreign = put_decision(console, image=own)  # names evidence of another run
    path = f"{console.url}/d/{id.replace('/', '.')}"
    assert f"/d/{id.replace('/', '.')}/image?t=" in httpx.get(decision_link(console, id)).text
    answer = httpx.get(f"{path}/image?t={decision_token(id)}")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PNG, "image/png")
    assert answer.headers["cache-control"] == "no-store"
    assert (
        httpx.get(f"{console.url}/d/{foreign.replace('/', '.')}/image?t={decision_token(foreign)}").status_code == 404
    )
    assert httpx.get(f"{console.url}/api/v1/evidence/{own}?t={decision_token(id)}").status_code == 401


def test_another_site_answers_nothing(console: Site) -> None:
    id = put_decision(console)
    assert post(console, id, "yes", **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert console.db["commands"].count_documents({"target": id}) == 0


def test_both_languages_and_the_switch(console: Site) -> None:
    id = put_decision(console)
    brazil = httpx.get(decision_link(console, id), headers={"accept-language": "pt-BR,pt;q=0.9"}).text
    assert 'lang="pt-BR"' in brazil
    assert "Responder até" in brazil
    english = httpx.get(decision_link(console, id, lang="en"), headers={"accept-language": "pt-BR"}).text
    assert 'lang="en"' in english
    switch = re.search(r'<a href="([^"]+)"[^>]*lang="pt-BR"', english)
    assert switch is not None
    assert "Sua resposta" in httpx.get(console.url + switch[1].replace("&amp;", "&")).text


def test_tokens_are_in_no_log(console: Site) -> None:
    id = put_decision(console)
    httpx.get(decision_link(console, id))
    post(console, id, "perhaps")
    logs = list(console.home.glob("*.log"))
    assert logs != []
    assert [path for path in logs if decision_token(id) in path.read_text(errors="replace")] == []
    assert [one for one in console.db["logs"].find() if decision_token(id) in str(one)] == []


def test_who_tries_tokens_is_told_to_wait_and_others_are_not(console: Site) -> None:
    id = put_decision(console)
    wrong = f"{console.url}/d/{id.replace('/', '.')}?t="
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.7")) as guesser:
        codes = [guesser.get(f"{wrong}guess-{number}").status_code for number in range(25)]
        assert guesser.get(decision_link(console, id)).status_code == 200
    assert codes[-1] == 429
    assert set(codes) <= {404, 429}
    assert httpx.get(f"{wrong}guess").status_code == 404
