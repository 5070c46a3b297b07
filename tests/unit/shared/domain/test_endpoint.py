"""Endpoints as partners and people write them: addresses, secrets, keys, and who signs when."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.addresses import networks
from shared.domain.endpoint import key_pair, secret_problem, secret_text, seed_of, signing, url_problem

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)


@given(st.binary(max_size=100))
def test_a_secret_has_24_to_64_bytes(data: bytes) -> None:
    assert (secret_problem(secret_text(data)) is None) == (24 <= len(data) <= 64)


@given(st.text(max_size=60))
def test_what_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    problem = secret_problem(f"whsec_{text}!")
    assert problem is not None
    assert len(text) < 8 or text not in problem


@pytest.mark.parametrize(
    "url", ["https://a.example/hook", "http://93.184.216.34:9000/x?y=1", "https://[2606:4700::1]/"]
)
def test_addresses_that_can_be_posted_to(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.31.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.",
    ],
)  # fmt: skip
def test_addresses_that_lead_into_our_own_network_are_refused_in_every_form(host: str) -> None:
    assert url_problem(f"https://{host}/hook")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.1.2.3", "169.254.169.254"])
def test_an_allowed_network_opens_itself_and_never_the_machines_keys(host: str) -> None:
    allowed = networks("127.0.0.0/8,::1/128,169.254.0.0/16")
    refused = host in ("10.1.2.3", "169.254.169.254")
    assert bool(url_problem(f"http://{host}:9000/hook", allowed)) == refused


@pytest.mark.parametrize(
    "url",
    [
        "", "a.example", "ftp://a.example/", "https://", "https:///x", "https://u:p@a.example/", "https://a.example/#x",
        "https://a.example:99999/", "https://a.example:0/", "https://a .example/", "https://[::1/", "https://ä.example/",
        "https://a.example/\n", "https://a.example/" + "x" * 2000,
    ],
)  # fmt: skip
def test_addresses_that_can_not(url: str) -> None:
    assert url_problem(url)


@given(st.text(max_size=80))
def test_any_text_is_judged(url: str) -> None:
    assert url_problem(url) is None or url_problem(url)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_its_seed_and_its_public_half(seed: bytes) -> None:
    private, public = key_pair(seed)
    assert (private.startswith("whsk_"), public.startswith("whpk_")) == (True, True)
    assert seed_of(private) == seed
    assert base64.b64decode(private[5:]) == seed + base64.b64decode(public[5:])


def test_a_known_key_has_its_known_public_half() -> None:
    """A pair that other implementations of the specification publish."""
    private = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    assert key_pair(seed_of(private)) == (private, "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")


@pytest.mark.parametrize("text", ["whsec_" + "A" * 88, "whsk_AAAA", "whsk_!", ""])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        seed_of(text)


@given(st.lists(st.integers(), max_size=3), st.none() | st.integers(-100, 100))
def test_the_secret_before_the_newest_signs_until_its_time_is_over(kept: list[int], left_s: int | None) -> None:
    until = None if left_s is None else NOW + timedelta(seconds=left_s)
    most = 1 if left_s is not None and left_s <= 0 else 2
    assert signing(kept, {"overlap_until": until}, NOW) == kept[:most]
