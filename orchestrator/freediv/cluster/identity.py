"""Who a certificate says somebody is, and the TLS credentials made from a role's folder."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from ..errors import UserError
from .configuration import OwnerConfig, PartyConfig

Kind = Literal["party", "model-owner", "data-owner"]
_URI = re.compile(
    r"spiffe://(?P<cluster>[a-z0-9-]{1,40})/"
    r"(?:party/(?P<rank>[0-2])|(?P<model>model-owner)|(?P<data>data-owner)(?:/(?P<name>[a-z0-9-]{1,40}))?)"
)


@dataclass(frozen=True)
class Role:
    """A role in a cluster, as its certificate names it.

    `rank` is a party's; `name` tells several data owners apart.
    """

    cluster: str
    kind: Kind
    rank: int | None = None
    name: str | None = None

    @property
    def uri(self) -> str:
        """The SPIFFE URI in the certificate, such as `spiffe://lab/party/0`."""
        return f"spiffe://{self.cluster}/{self}"

    @property
    def common_name(self) -> str:
        """The common name in the certificate, such as `party/0 of lab`; a gateway admits peers by it."""
        return f"{self} of {self.cluster}"

    @classmethod
    def parse(cls, uri: str) -> Role | None:
        """The role of a SPIFFE URI, or None where it is none of freediv's."""
        match = _URI.fullmatch(uri)
        if match is None:
            return None
        cluster = match["cluster"]
        if match["rank"] is not None:
            return cls(cluster, "party", rank=int(match["rank"]))
        return cls(cluster, "model-owner") if match["model"] else cls(cluster, "data-owner", name=match["name"])

    @classmethod
    def of(cls, config: PartyConfig | OwnerConfig) -> Role:
        """The role that a configuration is for."""
        if isinstance(config, PartyConfig):
            return cls(config.cluster, "party", rank=config.rank)
        return cls(config.cluster, config.role, name=config.name)

    def __str__(self) -> str:
        """`party/0`, `model-owner`, `data-owner` or `data-owner/NAME`."""
        tail = self.rank if self.kind == "party" else self.name
        return self.kind if tail is None else f"{self.kind}/{tail}"


def server_name(cluster: str, rank: int) -> str:
    """The DNS name in a party's certificate that clients insist on, whatever its host is called.

    It names the rank: a party cannot pass for another one, even if an address is wrong.
    """
    return f"party-{rank}.{cluster}.freediv.internal"


@dataclass(frozen=True)
class Identity:
    """A role's certificate and private key, and the authority that it trusts (PEM)."""

    role: Role
    ca: bytes
    certificate: bytes
    key: bytes

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a client that shows its own certificate."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """For a server."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.ca)


def read_identity(config: PartyConfig | OwnerConfig) -> Identity:
    """Read and check a role's certificate files.

    Raises:
        UserError: a file is missing or unreadable; the key is readable by others, or belongs to another certificate;
            the certificate is of another authority, cluster or role, or not valid today.
    """
    role = Role.of(config)
    ca_pem, certificate_pem, key_pem = (_read(path) for path in (config.ca, config.certificate, config.key))
    ca, certificate = _certificate(config.ca, ca_pem), _certificate(config.certificate, certificate_pem)
    if config.key.stat().st_mode & 0o077:
        raise UserError(f"{config.key}: other users can read this private key; run `chmod 600 {config.key}`")
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{config.key}: is not a private key in PEM; render again") from error
    if key.public_key() != certificate.public_key():
        raise UserError(f"{config.key}: does not belong to {config.certificate}; render again")
    if not is_issued_by(certificate, ca):
        raise UserError(
            f"{config.certificate}: is a certificate of another cluster (issued by {_common_name(certificate.issuer)}, "
            f"not by {_common_name(ca.subject)} of {config.ca.name}); take all files from one rendering"
        )
    found = roles_of(certificate)
    if found != [role]:
        names = ", ".join(f"{r} of cluster {r.cluster}" for r in found) or "no role"
        raise UserError(
            f"{config.certificate}: is for {names}, the configuration is for {role} of cluster {role.cluster}"
        )
    for path, one in ((config.certificate, certificate), (config.ca, ca)):
        now = datetime.datetime.now(datetime.timezone.utc)
        if now > one.not_valid_after_utc:
            raise UserError(f"{path}: expired on {one.not_valid_after_utc:%Y-%m-%d}; render again to renew it")
        if now < one.not_valid_before_utc:
            start = f"{one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            raise UserError(f"{path}: is not valid before {start}; set this machine's clock")
    return Identity(role, ca_pem, certificate_pem, key_pem)


def roles_of(certificate: x509.Certificate) -> list[Role]:
    """The roles that a certificate's URI names stand for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return [role for role in map(Role.parse, uris) if role is not None]


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether the authority's key signed the certificate."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; render again, or copy the whole folder of the role") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def _certificate(path: Path, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise UserError(f"{path}: is not a certificate in PEM; render again") from error


def _common_name(name: x509.Name) -> str:
    values = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return f"'{values[0].value!s}'" if values else "an unnamed authority"
