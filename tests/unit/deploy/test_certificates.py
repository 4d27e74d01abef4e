"""An authority, a server's certificate, nodes' keys: what they say, and who may read them."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from asepsis.core.errors import ConfigError, StoreError
from asepsis.deploy.certificates import make_node, make_secret, make_server


def verified(leaf: Path, authority: Path, name: str) -> bool:
    root = x509.load_pem_x509_certificate(authority.read_bytes())
    subject: x509.DNSName | x509.IPAddress = x509.DNSName(name)
    if name[0].isdigit():
        subject = x509.IPAddress(ipaddress.ip_address(name))
    policy = PolicyBuilder().store(Store([root])).build_server_verifier(subject)
    try:
        policy.verify(x509.load_pem_x509_certificate(leaf.read_bytes()), [])
    except VerificationError:
        return False
    return True


def test_the_server_is_who_its_certificate_says_and_nobody_else(tmp_path: Path) -> None:
    mine = make_server(tmp_path / "a", ["superlink.example.org", "192.0.2.7"])
    other = make_server(tmp_path / "b", ["superlink.example.org"])
    assert verified(mine.certificate, mine.authority, "superlink.example.org")
    assert verified(mine.certificate, mine.authority, "192.0.2.7")
    assert not verified(mine.certificate, mine.authority, "elsewhere.example.org")
    assert not verified(mine.certificate, other.authority, "superlink.example.org")


def test_tls_takes_certificate_and_key(tmp_path: Path) -> None:
    files = make_server(tmp_path, ["localhost"])
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)


def test_the_server_certificate_vouches_for_nobody(tmp_path: Path) -> None:
    files = make_server(tmp_path, ["localhost"])
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_certificates_end(tmp_path: Path) -> None:
    files = make_server(tmp_path, ["localhost"], days=2)
    for path in (files.authority, files.certificate):
        found = x509.load_pem_x509_certificate(path.read_bytes())
        left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(days=1.9) < left <= datetime.timedelta(days=2)


def test_a_node_signs_what_its_public_key_checks(tmp_path: Path) -> None:
    node = make_node(tmp_path, "hospital-0")
    key = load_ssh_private_key(node.key.read_bytes(), None)
    public = load_ssh_public_key(node.public.read_bytes())
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(public, EllipticCurvePublicKey)
    public.verify(key.sign(b"x", ECDSA(SHA384())), b"x", ECDSA(SHA384()))


def test_private_files_are_their_owners_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files, node = make_server(tmp_path / "k", ["localhost"]), make_node(tmp_path / "k", "n")
        secret = make_secret(tmp_path / "k")
    finally:
        os.umask(before)
    for path in (files.key, files.authority_key, node.key, secret):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o700


def test_nothing_is_written_over(tmp_path: Path) -> None:
    files, node = make_server(tmp_path, ["localhost"]), make_node(tmp_path, "n")
    secret = make_secret(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="never written over"):
        make_server(tmp_path, ["localhost"])
    with pytest.raises(ConfigError, match="never written over"):
        make_node(tmp_path, "n")
    assert make_secret(tmp_path) == secret
    files.certificate.unlink()  # what is left of an authority is not written over either
    with pytest.raises(ConfigError, match="never written over"):
        make_server(tmp_path, ["localhost"])
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert kept == {path: text for path, text in before.items() if path != files.certificate}
    assert node.key in kept


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "n.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="never written over"):
        make_node(tmp_path, "n")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("host", ["", "a b", "https://x", "x:8443", "-x", "x..y", "é.example"])
def test_what_is_no_host_is_refused_before_anything_is_written(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="neither a host name nor an address"):
        make_server(tmp_path / "k", [host])
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize("name", ["", "../n", "a/b", ".n", "n" * 64])
def test_what_is_no_name_of_a_node_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a node is named by"):
        make_node(tmp_path, name)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="no folder can be made here"):
        make_node(tmp_path / "file" / "k", "n")
