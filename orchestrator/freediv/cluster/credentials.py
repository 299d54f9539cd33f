"""What a party shows of itself and whom it turns away, as its files say now: both change while it runs."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ..errors import UserError
from .configuration import OwnerConfig, PartyConfig
from .identity import Identity, Role, read_identity

log = logging.getLogger(__name__)

REVOKED = "revoked"
"""In a party's folder: whom it answers no more, a role or the SHA-256 fingerprint of a certificate a line."""
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class _Watched:
    """Files, and whether they changed since they were last looked at."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._seen: object = None

    def changed(self) -> bool:
        now = [_stamp(path) for path in self._paths]
        before, self._seen = self._seen, now
        return now != before


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class Credentials:
    """A role's certificate and key. When their files are renewed, every connection from then on is made with them.

    Raises:
        UserError: they cannot be used, at the start. Later, those from before stay in use, and the log says why.
    """

    def __init__(self, config: PartyConfig | OwnerConfig) -> None:
        self._config = config
        self._files = _Watched((config.ca, config.certificate, config.key))
        self._files.changed()
        self._lock = threading.Lock()
        self._identity = read_identity(config)

    def current(self) -> Identity:
        """What to show now; the same object as long as nothing is renewed. Callable from any thread."""
        with self._lock:
            if self._files.changed():
                try:
                    self._identity = read_identity(self._config)
                    log.info("the certificate was renewed")
                except UserError as error:
                    log.warning("the certificate from before stays in use: %s", error)
            return self._identity

    def for_server(self) -> grpc.ServerCredentials:
        """For a server that asks every client for a certificate of the cluster."""
        shown = self.current()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            before, shown = shown, self.current()
            # None where nothing is new: gRPC frees what it replaces while other threads' handshakes may read it
            # (ssl_server_security_connector), and a party that replaced it at every connection died of some hundred.
            return None if shown is before else shown.server_configuration()

        return grpc.dynamic_ssl_server_credentials(
            shown.server_configuration(),
            renewed,  # type: ignore[arg-type]  # the stubs do not know that it may return None
            require_client_authentication=True,
        )


class Revoked:
    """Whom a party answers no more; its file may change at any time, and counts from the next call on.

    Raises:
        UserError: a line is none that it could be, at the start. Later, such a line is skipped, and the log says so.
    """

    def __init__(self, config: PartyConfig) -> None:
        self._cluster = config.cluster
        self._path = config.folder / REVOKED
        self._file = _Watched((self._path,))
        self._file.changed()
        self._entries, unknown = self._read()
        if unknown:
            raise UserError(f"{self._path}: '{unknown[0]}' is neither a role nor the fingerprint of a certificate")

    def __contains__(self, caller: tuple[Role, bytes]) -> bool:
        """Whether this role, or its certificate (PEM), is among them."""
        self._look()
        role, certificate = caller
        return bool(self._entries) and (str(role) in self._entries or fingerprint(certificate) in self._entries)

    def names(self, role: Role) -> bool:
        """Whether this role is among them, whatever its certificate."""
        self._look()
        return str(role) in self._entries

    def _look(self) -> None:
        if self._file.changed():
            try:
                self._entries, unknown = self._read()
            except UserError as error:
                log.warning("the list from before counts: %s", error)
            else:
                for line in unknown:
                    log.warning("%s: '%s' is neither a role nor the fingerprint of a certificate", self._path, line)

    def _read(self) -> tuple[frozenset[str], list[str]]:
        entries, unknown = set(), []
        for line in read_revoked(self._path):
            entry = revocable(line, self._cluster)
            if entry is None:
                unknown.append(line)
            else:
                entries.add(entry)
        return frozenset(entries), unknown


def read_revoked(path: Path) -> list[str]:
    """The lines of a list, without comments; none where there is no list.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return [entry for line in lines if (entry := line.partition("#")[0].strip())]


def revocable(entry: str, cluster: str) -> str | None:
    """A role's name or a certificate's fingerprint, as a list has it; None for what is neither."""
    if Role.parse(f"spiffe://{cluster}/{entry}") is not None:
        return entry
    digest = entry.replace(":", "").lower()
    return digest if _FINGERPRINT.fullmatch(digest) else None


@functools.lru_cache(maxsize=256)
def key_fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a certificate's public key, in hexadecimal: a certificate that is renewed keeps it.

    Raises:
        ValueError: it is none.
    """
    key = x509.load_pem_x509_certificate(certificate).public_key()
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


@functools.lru_cache(maxsize=256)
def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a certificate (PEM), in hexadecimal.

    Raises:
        ValueError: it is none.
    """
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()
