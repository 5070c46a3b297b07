"""Requests, commands and mails: what is taken, what is refused, what it becomes."""

from __future__ import annotations

import email
import email.policy
import json
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.args import checked, resolve, secret_names
from services.executor.core.calls import CodeCall, ServerCall, read_call
from services.executor.core.command import environment, words
from services.executor.core.web import basic, checked_headers, parsed_json, redirected_method
from shared.contracts.catalogue import BadCall
from shared.domain.letter import (
    Attachment,
    checked_address,
    checked_recipients,
    checked_subject,
    file_name,
    letter,
    message_id,
)
from shared.domain.mail_server import MailServer
from shared.script.modules import secret_handle

URL = "https://api.example/x"


def call(name: str, /, *args: Any, **kwargs: Any) -> Any:
    return read_call(name, args, kwargs, is_os=False, instruction_s=0.0)


# calls


@pytest.mark.parametrize(
    ("method", "commit", "effect"),
    [
        ("GET", False, "read"), ("HEAD", False, "read"), ("OPTIONS", False, "read"), ("POST", False, "act"),
        ("PUT", True, "act"), ("DELETE", False, "act"), ("GET", True, "act"), ("get", False, "act"),
    ],
)  # fmt: skip
def test_a_request_that_only_asks_is_a_read(method: str, commit: bool, effect: str) -> None:
    found = call("regente.http.request", method, URL, commit=commit)
    assert isinstance(found, ServerCall)
    assert (found.effect, found.commit) == (effect, commit)


def test_the_servers_time_is_what_the_script_says() -> None:
    assert call("regente.http.request", "GET", URL, timeout=5).timeout_s == 5
    assert call("regente.http.request", "GET", URL).timeout_s == 60
    assert read_call("regente.mail.send", ("a@b.c", "s", "t"), {}, is_os=False, instruction_s=90).timeout_s == 90
    assert call("regente.job.run", "x", timeout=10_000).timeout_s == 3600


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("regente.http.request", ("GET",), {}),
        ("regente.http.request", ("GET", URL), {"timeout": 0}),
        ("regente.http.request", ("GET", URL), {"proxy": "x"}),
        ("robot.http.request", ("GET", URL), {}),
        ("regente.browser.click", ({},), {}),
        ("regente.job.run", (), {}),
        ("regente.secrets.totp", (1,), {}),
    ],
)
def test_calls_that_do_not_exist(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(BadCall):
        call(name, *args, **kwargs)


def test_codes_are_handles_and_handles_are_found_where_they_may_stand() -> None:
    assert call("regente.secrets.totp", "otp") == CodeCall("otp")
    args = {"auth": secret_handle("a"), "headers": {"X": secret_handle("b")}, "json": {"c": secret_handle("c")}}
    assert secret_names(args) == {"a", "b"}
    assert resolve(args, {}, {"a": "1", "b": "2"}) == {"auth": "1", "headers": {"X": "2"}, "json": args["json"]}
    assert checked({"text": "x" * 300_000}, 1_000_000)
    with pytest.raises(BadCall):
        checked({"text": "x" * 300_000})


# requests


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"}, {"content-length": "3"}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"},
        {"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X": "a\0b"}, {"X\r\nY": "b"}, {"X:": "b"}, {"": "b"}, {"X Y": "b"},
        {"X": "é"}, {"X": "1", "x": "2"}, {"X": "a" * 20_000}, {f"X{n}": "1" for n in range(51)},
    ],
)  # fmt: skip
def test_headers_that_could_make_another_request_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError) as raised:
        checked_headers(headers)
    assert "a" * 100 not in str(raised.value)


def test_a_log_in_is_basic() -> None:
    assert basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617, 2
    with pytest.raises(ValueError):
        basic("a:b", "c")


@pytest.mark.parametrize(
    ("method", "status", "after"),
    [
        ("POST", 301, "GET"), ("POST", 302, "GET"), ("POST", 303, "GET"), ("PUT", 303, "GET"), ("PUT", 302, "PUT"),
        ("POST", 307, "POST"), ("DELETE", 308, "DELETE"), ("HEAD", 303, "HEAD"), ("GET", 302, "GET"),
    ],
)  # fmt: skip
def test_the_method_after_a_redirect(method: str, status: int, after: str) -> None:
    assert redirected_method(method, status) == after


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@given(JSON)
def test_the_journal_can_hold_every_json_that_is_given(value: Any) -> None:
    found = parsed_json(json.dumps(value))
    assert found is None or found == value
    bson.encode({"v": found})


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"$secret": "portal/password"}}', '[{"$totp": "x"}]', '{"$object": "x", "y": 1}', "[" * 200 + "]" * 200,
        "[" * 100_000, "NaN", "[1e999]", str(2**63), '{"a\\u0000": 1}', '"\\ud800"', "", "{", "9" * 5000,
    ],
)  # fmt: skip
def test_json_that_could_hurt_is_left_out(text: str) -> None:
    assert parsed_json(text) is None


# commands


def test_arguments_stay_words() -> None:
    assert words(["/bin/echo", "-n"], ["a b", "$(id)", "{0}"]) == ["/bin/echo", "-n", "a b", "$(id)", "{0}"]
    assert words(["/bin/x", "--a={1}", "{0}"], ["; rm", "{1}"]) == ["/bin/x", "--a={1}", "; rm"]
    for command, arguments in (
        (["/bin/x", "{1}"], ["one"]),
        (["/bin/x", "{0}"], ["one", "two"]),
        (["/bin/x", "{0}"], []),
        (["/bin/x"], ["a\0b"]),
        (["/bin/x"], ["a"] * 101),
        (["/bin/x"], ["a" * 100_000]),
    ):
        with pytest.raises(ValueError):
            words(command, arguments)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_one_argument_is_one_word(arguments: list[str]) -> None:
    assert words(["/bin/x"], arguments) == ["/bin/x", *arguments]
    placed = words(["/bin/x", *(f"--{n}={{{n}}}" for n in range(len(arguments)))], arguments)
    assert placed == ["/bin/x", *(f"--{n}={argument}" for n, argument in enumerate(arguments))]


def test_a_command_inherits_nothing() -> None:
    env = environment({"KEY": "v"}, folder="/tmp/x", run="run_1", seq=3, task=None)
    assert set(env) == {"PATH", "LANG", "HOME", "TMPDIR", "REGENTE_OPERATION", "KEY"}
    assert env["REGENTE_OPERATION"] == "run_1/3"


# mail


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a@", "@b.c", "a@b c", "a b@c.d", "a@b.c\r\nBcc: x@y.z", "a@b.c\n", "a@b.c,x@y.z", "A <a@b.c>",
        '"a"@b.c', "a@[127.0.0.1]", "a@b..c", ".a@b.c", "a@-b.c", "é@b.c", "a@é.c", "x" * 65 + "@b.c", "a@b.c>",
    ],
)  # fmt: skip
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        checked_address(text)


def test_recipients_and_subject() -> None:
    assert checked_recipients("a@b.c") == ["a@b.c"]
    assert checked_recipients(["a@b.c", "d@e.f", "a@b.c"]) == ["a@b.c", "d@e.f"]
    for to in ([], [f"a{n}@b.c" for n in range(51)]):
        with pytest.raises(ValueError):
            checked_recipients(to)
    for subject in ("", "a\r\nBcc: x@y.z", "a\nb", "a\0", "a\u2028b", "a\x85b", "x" * 501):
        with pytest.raises(ValueError):
            checked_subject(subject)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=200)


@given(TEXT, st.text(st.characters(exclude_categories=["Cs"]), max_size=200), TEXT)
def test_no_text_adds_a_header(subject: str, text: str, name: str) -> None:
    attachment = Attachment(name, "application/pdf", b"%PDF")
    data = letter(
        sender="robots@acme.example", recipients=["a@b.c"], subject=checked_subject(subject), text=text, html=None,
        attachments=[attachment], identity=message_id("run_1", 2, "robots@acme.example"), at=datetime.now(UTC),
    )  # fmt: skip
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert {key.lower() for key in found.keys()} == {  # noqa: SIM118
        "from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type"
    }  # fmt: skip
    assert found["message-id"] == "<run_1.2@acme.example>"
    assert len(list(found.iter_attachments())) == 1


def test_a_mail_that_is_too_large_is_not_made() -> None:
    with pytest.raises(ValueError, match="at most"):
        letter(
            sender="a@b.c", recipients=["a@b.c"], subject="s", text="t", html="<p>t</p>", identity="<x@y>",
            attachments=[Attachment("x", "application/pdf", bytes(9 * 1024 * 1024))], at=datetime.now(UTC),
        )  # fmt: skip


def test_names_of_files() -> None:
    assert file_name(Attachment("receipt", "application/pdf", b"")) == "receipt.pdf"
    assert file_name(Attachment("../../etc/x.pdf", "application/pdf", b"")) == "_.._etc_x.pdf"
    assert file_name(Attachment("...", "image/png", b"")) == "attachment.png"


def test_the_mail_servers_address() -> None:
    assert MailServer.of("smtp://u%40x:p%3Aw@mail.example") == MailServer("mail.example", 587, "starttls", "u@x", "p:w")
    assert MailServer.of("smtps://mail.example") == MailServer("mail.example", 465, "from the start")
    assert MailServer.of("smtp://mail.example?starttls=no") == MailServer("mail.example", 25, "no")
    for url in ("http://x", "smtp://", "smtp://x?starttls=maybe"):
        with pytest.raises(ValueError):
            MailServer.of(url)
