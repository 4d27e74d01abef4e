"""Keys and certificates of a deployment: an authority, the server's certificate, nodes' keys.

The server's certificate lets hospitals know whom they talk to and encrypts what passes; a node's
key lets the server know which hospital talks. Private keys are readable by their owner only, and
nothing is ever written over.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from asepsis.core.errors import ConfigError, StoreError

PRIVATE, PUBLIC = 0o600, 0o644
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
SKEW = datetime.timedelta(minutes=5)
"""Clocks of two machines may differ by so much."""


@dataclass(frozen=True)
class ServerFiles:
    """What a SuperLink is started with, and what hospitals get of it: ``authority`` alone."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate; every hospital gets a copy."""
        return self.folder / "ca.crt"

    @property
    def authority_key(self) -> Path:
        """The authority's private key: whoever has it can pose as the server."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """The server's private key."""
        return self.folder / "server.key"


@dataclass(frozen=True)
class NodeFiles:
    """One hospital's key pair; the server gets ``public``."""

    folder: Path
    name: str

    @property
    def key(self) -> Path:
        """The private key: it never leaves the hospital."""
        return self.folder / f"{self.name}.key"

    @property
    def public(self) -> Path:
        """The public key."""
        return self.folder / f"{self.name}.pub"


def make_server(folder: Path, hosts: Sequence[str], days: int = 365) -> ServerFiles:
    """Make an authority and a server's certificate for some names or addresses.

    Raises:
        ConfigError: no name, or one that is none; the files are there already.
        StoreError: the folder cannot be written.
    """
    names = _names(hosts)
    files = ServerFiles(folder)
    _make_folder(folder)
    _refuse_used(files.authority, files.authority_key, files.certificate, files.key)
    authority, server = generate_private_key(SECP384R1()), generate_private_key(SECP384R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "asepsis deployment authority")])
    root = _authority(issuer, authority, days)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "asepsis deployment server")])
    leaf = (
        _builder(subject, issuer, server.public_key(), days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
        .sign(authority, hashes.SHA384())
    )
    _write(files.authority_key, _private(authority, PrivateFormat.PKCS8), PRIVATE)
    _write(files.authority, root.public_bytes(Encoding.PEM), PUBLIC)
    _write(files.key, _private(server, PrivateFormat.PKCS8), PRIVATE)
    _write(files.certificate, leaf.public_bytes(Encoding.PEM), PUBLIC)
    return files


def make_node(folder: Path, name: str) -> NodeFiles:
    """Make one hospital's key pair, in the form that Flower's SuperNode reads.

    Raises:
        ConfigError: the name is no file name, or the files are there already.
        StoreError: the folder cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ConfigError("a node is named by letters, digits, - and _", place="--node", got=name)
    files = NodeFiles(folder, name)
    _make_folder(folder)
    _refuse_used(files.key, files.public)
    made = generate_private_key(SECP384R1())
    public = made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write(files.key, _private(made, PrivateFormat.OpenSSH), PRIVATE)
    _write(files.public, public + b"\n", PUBLIC)
    return files


def make_secret(folder: Path) -> Path:
    """Make the secret that a server, or a node, shares with what runs its apps; an old one stays.

    Raises:
        StoreError: the folder cannot be written.
    """
    _make_folder(folder)
    path = folder / "apps.secret"
    if not path.exists():
        _write(path, secrets.token_bytes(32), PRIVATE)
    return path


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    if not hosts:
        raise ConfigError(
            "no name of the server",
            place="--host",
            fix="give the name or address that hospitals connect to",
        )
    return [_name(host) for host in dict.fromkeys(hosts)]


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if HOST.fullmatch(host):
            return x509.DNSName(host)
    raise ConfigError(
        "neither a host name nor an address", place="--host", got=host, fix="give it without a port"
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    if days < 1:
        raise ConfigError("a certificate lasts a day at least", place="--days", got=days)
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority(name: x509.Name, key: EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    return (
        _builder(name, name, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA384())
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: EllipticCurvePrivateKey, form: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"no folder can be made here: {error.strerror}", place=str(folder)
        ) from None


def _refuse_used(*paths: Path) -> None:
    used = [path for path in paths if path.exists() or path.is_symlink()]
    if used:
        raise _used(used[0])


def _used(path: Path) -> ConfigError:
    return ConfigError(
        "the file is there already, and keys are never written over",
        place=str(path),
        fix="choose another folder, or delete it yourself",
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist, with its final mode from the first moment."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _used(path) from None
    except OSError as error:
        raise StoreError(f"cannot write: {error.strerror}", place=str(path)) from None
    with open(number, "wb") as out:
        out.write(content)
