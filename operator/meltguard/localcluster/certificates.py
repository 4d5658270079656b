"""The plane's own certificate authority and what it signs; every key stays below the plane's directory."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meltguard.clock import SystemClock
from meltguard.localcluster.cache import private_directory

LIVES: Final = timedelta(days=365)
SKEW: Final = timedelta(hours=1)  # a certificate is valid a little before it is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a certificate names."""

    name: str  # common name: the user, to Kubernetes
    groups: tuple[str, ...] = ()  # organizations: the groups
    addresses: tuple[str, ...] = ()  # IP addresses that a server answers on
    hosts: tuple[str, ...] = ()  # and its DNS names


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that lives in a directory."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, the authority's key and its certificate."""
        self._directory = private_directory(directory)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "meltguard-local")])
        self._now = datetime.fromtimestamp(SystemClock().now(), UTC)
        own = self._builder(self._name, self._key.public_key())
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = directory / "authority.crt"
        _write(self.certificate, own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, file_name: str, identity: Identity) -> KeyPair:
        """A certificate good as a server's and as a client's."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_subject(identity), key.public_key())
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        names = _alternative_names(identity)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        pair = KeyPair(self._directory / f"{file_name}.crt", self._directory / f"{file_name}.key")
        _write(pair.certificate, builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        _write(pair.key, _pem(key))
        return pair

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - SKEW)
            .not_valid_after(self._now + LIVES)
        )


def signing_key(directory: Path, file_name: str) -> KeyPair:
    """A key that signs service-account tokens, and its public half (in `certificate`)."""
    key = ec.generate_private_key(ec.SECP256R1())
    pair = KeyPair(directory / f"{file_name}.pub", directory / f"{file_name}.key")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(pair.certificate, public)
    _write(pair.key, _pem(key))
    return pair


def _subject(identity: Identity) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, identity.name)])


def _alternative_names(identity: Identity) -> Sequence[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
    return [*addresses, *(x509.DNSName(host) for host in identity.hosts)]


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """For the owner's eyes only, from the first byte on."""
    path.touch(mode=0o600)
    path.write_bytes(content)
