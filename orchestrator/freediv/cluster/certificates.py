"""A cluster's own certificate authority, and the certificates of its roles.

EC P-256 keys. A certificate carries the role as a SPIFFE URI; a party's also the names that it is reached by.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import UserError
from ..files import PRIVATE, READABLE, make_directory, replace_file
from .identity import Role, is_issued_by, roles_of, server_name

AUTHORITY_LIFETIME = datetime.timedelta(days=5 * 365)
CERTIFICATE_LIFETIME = datetime.timedelta(days=397)
RENEW_BEFORE = datetime.timedelta(days=60)
"""A certificate that ends sooner than this is renewed by the next rendering."""
REQUEST = "request.pem"
_CLOCK_SKEW = datetime.timedelta(minutes=10)


class Authority:
    """A certificate authority in a directory: `ca.pem` (public) and `ca-key.pem` (mode 0600, for no role's eyes)."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def pem(self) -> bytes:
        """The authority's certificate, which every role gets."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def open(cls, directory: Path, cluster: str) -> Authority:
        """The authority of `directory`, made there on first use.

        Raises:
            UserError: the directory holds no key for a certificate, or one of another cluster, or it has expired.
        """
        certificate_path, key_path = directory / "ca.pem", directory / "ca-key.pem"
        if not certificate_path.exists() and not key_path.exists():
            make_directory(directory, 0o700)
            replace_file(key_path, _key_pem(ec.generate_private_key(ec.SECP256R1())), PRIVATE, durable=True)
        try:
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            if not certificate_path.exists() and isinstance(key, ec.EllipticCurvePrivateKey):
                # New, or cut off here: what another certificate of this key and name had signed stays good.
                replace_file(certificate_path, cls._create(cluster, key).pem, READABLE, durable=True)
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{directory}: the authority cannot be read ({error}); restore it, or render into a new directory"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise UserError(f"{key_path}: does not belong to ca.pem; restore it, or render into a new directory")
        if certificate.subject != _name(_authority_name(cluster)):
            raise UserError(
                f"{certificate_path}: is not the authority of cluster '{cluster}'; render into a new directory"
            )
        if certificate.not_valid_after_utc < _now() + RENEW_BEFORE:
            raise UserError(
                f"{certificate_path}: ends on {certificate.not_valid_after_utc:%Y-%m-%d}; render into a new directory"
            )
        return cls(certificate, key)

    @classmethod
    def _create(cls, cluster: str, key: ec.EllipticCurvePrivateKey) -> Authority:
        name = _name(_authority_name(cluster))
        builder = _builder(name, name, key.public_key(), AUTHORITY_LIFETIME)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return cls(builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256()), key)

    def issue(self, directory: Path, role: Role, hosts: tuple[str, ...] = (), *, on_request: bool = False) -> bool:
        """Put `ca.pem`, `certificate.pem` and `key.pem` (mode 0600) of a role into its folder.

        An existing key is kept; so is its certificate, unless it ends soon or names something else.

        Args:
            directory: the role's folder; made if it is not there.
            role: what the certificate says; of a request, only the key is taken.
            hosts: names and addresses by which a party is reached.
            on_request: make no key, but sign for that of `request.pem` in the folder.

        Returns:
            Whether there is a certificate: not before there is a request.
        """
        make_directory(directory, 0o700)
        replace_file(directory / "ca.pem", self.pem, READABLE)
        request, certificate_path = directory / REQUEST, directory / "certificate.pem"
        if on_request and not request.exists():
            return False
        key = _requested_key(request) if on_request else own_key(directory / "key.pem").public_key()
        names = _alternative_names(role, hosts)
        if not certificate_path.exists() or not self._still_good(certificate_path, key, role, names):
            replace_file(
                certificate_path, self._sign(key, role, names).public_bytes(serialization.Encoding.PEM), READABLE
            )
        return True

    def _still_good(
        self, path: Path, key: ec.EllipticCurvePublicKey, role: Role, names: x509.SubjectAlternativeName
    ) -> bool:
        try:
            found = x509.load_pem_x509_certificate(path.read_bytes())
            same_names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names
        except (ValueError, x509.ExtensionNotFound):
            return False
        current = found.not_valid_after_utc > _now() + RENEW_BEFORE
        ours = is_issued_by(found, self._certificate) and found.public_key() == key
        return ours and same_names and current and roles_of(found) == [role]

    def _sign(self, key: ec.EllipticCurvePublicKey, role: Role, names: x509.SubjectAlternativeName) -> x509.Certificate:
        lifetime = min(CERTIFICATE_LIFETIME, self._certificate.not_valid_after_utc - _now())
        builder = _builder(self._certificate.subject, _name(role.common_name), key, lifetime)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role.kind == "party":
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(names, critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(identifier, critical=False).sign(self._key, hashes.SHA256())


def own_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key of a file, made there (mode 0600) if it does not exist.

    Raises:
        UserError: the file holds something else.
    """
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        replace_file(path, _key_pem(key), PRIVATE, durable=True)
        return key
    try:
        kept = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: is not a private key in PEM; delete it to have a new one made") from error
    if not isinstance(kept, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: is not an elliptic-curve key; delete it to have a new one made")
    path.chmod(0o600)
    return kept


def request_certificate(directory: Path, role: Role) -> Path:
    """Make a role's key in its folder, if there is none, and the request for its certificate, which is public."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(role.common_name))
    request = builder.sign(own_key(directory / "key.pem"), hashes.SHA256())
    replace_file(directory / REQUEST, request.public_bytes(serialization.Encoding.PEM), READABLE)
    return directory / REQUEST


def _requested_key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
        key = request.public_key()
        if not request.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("not signed with an elliptic-curve key")
    except ValueError as error:
        raise UserError(f"{path}: is no certificate request ({error}); make it with `freediv request`") from error
    return key


def _alternative_names(role: Role, hosts: tuple[str, ...]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(role.uri)]
    if role.kind == "party" and role.rank is not None:
        names.append(x509.DNSName(server_name(role.cluster, role.rank)))
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(_now() - _CLOCK_SKEW).not_valid_after(_now() + lifetime)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _authority_name(cluster: str) -> str:
    return f"freediv cluster {cluster}"


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
