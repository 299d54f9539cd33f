"""What the image is made of, as a CycloneDX bill of materials: Python packages as locked, and Debian's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from docker.errors import DockerException
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ...errors import UserError
from .engines import open_engine
from .images import PYTHON

_IN_IMAGE = (
    "from importlib.metadata import distributions as d; print(*sorted(f'{x.name} {x.version}' for x in d()), sep='\\n')"
)
_ENVIRONMENT = {
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


@dataclass(frozen=True)
class Locked:
    """A line of requirements.lock: a package for the image's Python, and the SHA-256 of every file that may be it."""

    name: str
    version: str
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """What lies in an image: (name, version) of Python's packages, and (name, version, architecture) of Debian's."""

    python: frozenset[tuple[str, str]]
    debian: tuple[tuple[str, str, str], ...]


def read_lock(path: Path) -> tuple[Locked, ...]:
    """The packages that a lock gives the image.

    Raises:
        UserError: it cannot be read, or holds a package without a hash.
    """
    try:
        lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}; give a checkout with --source") from None
    found = []
    for line in (line for line in lines if line.strip() and not line.lstrip().startswith("#")):
        requirement = Requirement(line.split("--hash")[0].strip())
        hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
        if not hashes:
            raise UserError(f"{path}: {requirement.name} is locked without a hash; run `make lock`")
        if requirement.marker is None or requirement.marker.evaluate(_ENVIRONMENT):
            [pin] = requirement.specifier
            found.append(Locked(canonicalize_name(requirement.name), pin.version, hashes))
    return tuple(found)


def look_into(image: str) -> Contents:
    """Ask an image what is installed in it.

    Raises:
        UserError: there is no such image here, or no Docker engine.
    """
    show = "--showformat=${Package} ${Version} ${Architecture}\n"
    python = _said_in(image, ["python", "-c", _IN_IMAGE])
    debian = _said_in(image, ["dpkg-query", "--show", show])
    packages = (line.split() for line in python.splitlines())
    return Contents(
        frozenset((canonicalize_name(name), number) for name, number in packages),
        tuple((name, number, architecture) for name, number, architecture in map(str.split, debian.splitlines())),
    )


def _said_in(image: str, command: list[str]) -> str:
    try:
        said = open_engine().containers.run(
            image, command, entrypoint=[], network_mode="none", read_only=True, remove=True
        )
    except DockerException as error:
        reason = " ".join(str(getattr(error, "explanation", None) or error).split())[:200]
        raise UserError(f"image {image}: {reason}; `freediv images build` makes it") from None
    return said.decode()


def bill_of_materials(lock: tuple[Locked, ...], contents: Contents | None = None) -> str:
    """CycloneDX 1.6, JSON.

    Args:
        lock: what was locked. A package that the image does not hold is listed with the scope `excluded`.
        contents: of the image; None: everything locked is taken to be in it, and Debian's packages are unknown.
    """
    root = Component(name="freediv", version=version("freediv"), type=ComponentType.CONTAINER, bom_ref="freediv")
    bom = Bom(components=(*_python(lock, contents), *_debian(contents)))
    bom.metadata.component = root
    bom.register_dependency(root, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _python(lock: tuple[Locked, ...], contents: Contents | None) -> Iterator[Component]:
    for package in lock:
        there = contents is None or (package.name, package.version) in contents.python
        purl = PackageURL("pypi", None, package.name, package.version)
        yield Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            purl=purl,
            bom_ref=purl.to_string(),
            scope=ComponentScope.REQUIRED if there else ComponentScope.EXCLUDED,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in package.hashes],
        )
    if contents is None:
        return
    unlocked = contents.python - {(package.name, package.version) for package in lock}
    for name, number in sorted(unlocked - {("freediv", version("freediv"))}):
        purl = PackageURL("pypi", None, name, number)
        yield Component(name=name, version=number, type=ComponentType.LIBRARY, purl=purl, bom_ref=purl.to_string())


def _debian(contents: Contents | None) -> Iterator[Component]:
    for name, number, architecture in contents.debian if contents is not None else ():
        purl = PackageURL("deb", "debian", name, number, {"arch": architecture})
        yield Component(name=name, version=number, type=ComponentType.LIBRARY, purl=purl, bom_ref=purl.to_string())
