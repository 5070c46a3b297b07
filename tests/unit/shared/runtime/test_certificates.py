"""An authority and certificates as files: believed by those who have ca.pem, and by nobody else."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from shared.outbound.trust import tls_context
from shared.runtime.certificates import AUTHORITIES_MAX, DAYS_MAX, RENEW_DAYS, BadCertificates, make

NAMES = {"api": ["localhost", "127.0.0.1"], "broker": ["broker.example"]}


def now() -> datetime:
    return datetime.now(UTC)


def shake(folder: Path, name: str, host: str, authority: Path) -> str:
    """A TLS handshake with a server that has this certificate; what the client says: its version, or why not."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as wrapped:
                wrapped.recv(1)
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with tls_context(str(authority)).wrap_socket(near, server_hostname=host) as wrapped:
            return wrapped.version() or ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    finally:
        near.close()
        thread.join()


def test_who_has_the_authority_believes_a_server_by_each_of_its_names(tmp_path: Path) -> None:
    made = make(tmp_path / "ours", NAMES, now())
    assert len(made) == 3
    make(tmp_path / "theirs", NAMES, now())
    ours = tmp_path / "ours"
    assert shake(ours, "api", "localhost", ours / "ca.pem") == "TLSv1.3"
    assert shake(ours, "api", "127.0.0.1", ours / "ca.pem") == "TLSv1.3"
    assert "Hostname mismatch" in shake(ours, "api", "broker.example", ours / "ca.pem")
    assert "unable to get local issuer" in shake(ours, "api", "localhost", tmp_path / "theirs" / "ca.pem")


def test_keys_are_ours_alone_unless_containers_are_to_read_them(tmp_path: Path) -> None:
    make(tmp_path / "a", NAMES, now())
    make(tmp_path / "b", NAMES, now(), readable=True)

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert {mode(tmp_path / "a" / name) for name in ("ca.key", "api.key", "api.both.pem")} == {0o600}
    assert mode(tmp_path / "b" / "api.key") == 0o644
    assert {mode(tmp_path / folder) for folder in "ab"} == {0o700}
    assert mode(tmp_path / "b" / "ca.key") == 0o600, "nobody but the maker signs"


def test_again_only_what_is_missing_changed_or_ends_soon_is_made(tmp_path: Path) -> None:
    make(tmp_path, NAMES, now(), days=90)
    before = (tmp_path / "broker.pem").read_bytes()
    assert make(tmp_path, NAMES, now(), days=90) == []
    (tmp_path / "api.key").unlink()
    assert make(tmp_path, NAMES, now(), days=90) == ["api.pem for localhost, 127.0.0.1 (new)"]
    assert make(tmp_path, {"api": ["localhost"]}, now(), days=90) == ["api.pem for localhost (other hosts)"]
    later = now() + timedelta(days=90 - RENEW_DAYS + 1)
    (said,) = make(tmp_path, {"broker": NAMES["broker"]}, later, days=90)
    assert "the one before ends on" in said
    assert (tmp_path / "broker.pem").read_bytes() != before


def test_an_authority_is_replaced_while_the_one_before_is_still_believed(tmp_path: Path) -> None:
    begun = now() - timedelta(days=20)
    make(tmp_path, NAMES, begun)
    old = tmp_path / "before"
    make(old, {}, now())
    for file in ("api.pem", "api.key", "ca.pem"):
        (old / file).write_bytes((tmp_path / file).read_bytes())
    make(tmp_path, {}, begun + timedelta(days=1), new_authority=True)
    assert shake(old, "api", "localhost", tmp_path / "ca.pem") == "TLSv1.3", "signed by the old one"
    (said, _) = make(tmp_path, NAMES, now())
    assert "(another authority)" in said
    assert shake(tmp_path, "api", "localhost", tmp_path / "ca.pem") == "TLSv1.3"
    assert "local issuer" in shake(tmp_path, "api", "localhost", old / "ca.pem")
    for n in range(AUTHORITIES_MAX + 2):
        make(tmp_path, {}, begun + timedelta(days=2 + n), new_authority=True)
    assert len(x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())) == AUTHORITIES_MAX


@pytest.mark.parametrize(
    ("names", "days", "says"),
    [
        ({"api": []}, 30, "has no host"),
        ({"../api": ["x"]}, 30, "is no name"),
        ({"ca": ["x"]}, 30, "is no name"),
        ({"api": ["ünïcode.example"]}, 30, "is no host"),
        ({"api": ["x"]}, DAYS_MAX + 1, "valid for 1 to"),
        ({"api": ["x"]}, 0, "valid for 1 to"),
    ],
)
def test_what_can_not_be_made_is_said(names: dict[str, list[str]], days: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadCertificates, match=says):
        make(tmp_path, names, now(), days=days)


def test_an_authority_without_its_key_is_not_replaced_unasked(tmp_path: Path) -> None:
    make(tmp_path, NAMES, now())
    (tmp_path / "ca.key").unlink()
    with pytest.raises(BadCertificates, match="bring the key back"):
        make(tmp_path, NAMES, now())
