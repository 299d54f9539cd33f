"""The images: their base, the wheels that go into them, and their building."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from ...errors import UserError
from .engines import open_engine

SUITE = "bookworm"
PYTHON = "3.11"
"""Of that suite, and of the public base."""


@dataclass(frozen=True)
class Recipe:
    """An image: its name, its Dockerfile, the public base, and what a base from Debian packages has to hold instead."""

    name: str
    dockerfile: str
    public_base: str
    packages: tuple[str, ...]


RECIPES = (
    Recipe(
        "freediv",
        "images/freediv.Dockerfile",
        f"python:{PYTHON}-slim-{SUITE}",
        ("ca-certificates", "libgomp1", "python3", "python3-venv"),
    ),
    Recipe("freediv-gateway", "images/gateway.Dockerfile", f"debian:{SUITE}-slim", ("haproxy",)),
)


@dataclass(frozen=True)
class Built:
    """An image that was built: its name, its size in bytes, and in words which base it stands on, and why."""

    name: str
    size: int
    base: str


OnStep = Callable[[str], None]


def build(source: Path, base: str | None = None, on_step: OnStep = lambda step: None) -> Iterator[Built]:
    """Build all images, one after another.

    Args:
        source: a checkout of the repository; wheels are kept in its `build/wheels`.
        base: of the image of the roles. By default the public one or, where no registry answers, one made from Debian
            packages.
        on_step: told what is being done.

    Raises:
        UserError: a step fails; says which, and what it said.
    """
    if not (source / RECIPES[0].dockerfile).is_file():
        raise UserError(f"{source}: is not a checkout of freediv; run this in one, or give it with --source")
    client = open_engine()
    fetch_wheels(source, on_step)
    for recipe in RECIPES:
        chosen, why = (base, "as asked for") if base and recipe is RECIPES[0] else _base(client, recipe, on_step)
        on_step(f"building {recipe.name}")
        _build(client, source, recipe, chosen, on_step)
        yield Built(recipe.name, int(client.images.get(recipe.name).attrs["Size"]), f"{chosen}: {why}")


def fetch_wheels(source: Path, on_step: OnStep = lambda step: None) -> Path:
    """The wheels of requirements.lock, each with the digest that the lock gives, in `build/wheels`.

    This machine fetches them, with its own index, proxy and certificate authorities.
    """
    if ".".join(map(str, sys.version_info[:2])) != PYTHON:
        raise UserError(f"the images run Python {PYTHON}, and their wheels are fetched with it: run freediv with that")
    lock, wheels = source / "requirements.lock", source / "build" / "wheels"
    stamp, digest = wheels / "complete", hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return wheels
    shutil.rmtree(wheels, ignore_errors=True)
    on_step("fetching wheels")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    _run([*command, "--requirement", str(lock), "--dest", str(wheels)], on_step)
    stamp.write_text(digest, encoding="utf-8")
    return wheels


def _base(client: docker.DockerClient, recipe: Recipe, on_step: OnStep) -> tuple[str, str]:
    """An image to build on, and why this one."""
    on_step(f"asking for {recipe.public_base}")
    try:
        client.images.pull(recipe.public_base)
        return recipe.public_base, "the public image"
    except DockerException as error:
        reason = _one_line(getattr(error, "explanation", None) or str(error))
    name = f"{recipe.name}-base"
    why = f"made from Debian packages, because the public image could not be had ({reason})"
    if not client.images.list(name):
        _bootstrap(client, name, recipe.packages, on_step)
    return name, why


def _bootstrap(client: docker.DockerClient, name: str, packages: tuple[str, ...], on_step: OnStep) -> None:
    """A base image of Debian's smallest system and these packages."""
    if shutil.which("debootstrap") is None:
        raise UserError("no image registry can be reached, and debootstrap, which could do without, is not installed")
    if os.geteuid() != 0:
        raise UserError("no image registry can be reached; making a base without one needs root: run this with sudo")
    with tempfile.TemporaryDirectory(prefix="freediv-base-") as directory:
        root = Path(directory, "root")
        _run(["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(root)], on_step)
        on_step(f"importing {name}")
        # Licences stay; what nobody reads in a container does not.
        subprocess.run(["find", root / "usr/share/doc", "-type", "f", "!", "-name", "copyright", "-delete"], check=True)
        leave = [f"--exclude=./{path}/*" for path in _NOT_NEEDED]
        with subprocess.Popen(["tar", "-C", root, *leave, "-c", "."], stdout=subprocess.PIPE) as tar:
            client.api.import_image_from_stream(tar.stdout, repository=name, tag="latest")
        if tar.returncode:
            raise UserError(f"{root} could not be packed; is there space left?")


_NOT_NEEDED = ("usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists", "var/log")


def _build(client: docker.DockerClient, source: Path, recipe: Recipe, base: str, on_step: OnStep) -> None:
    said: deque[str] = deque(maxlen=15)
    try:
        for event in client.api.build(
            path=str(source),
            dockerfile=recipe.dockerfile,
            tag=recipe.name,
            buildargs={"BASE": base},
            use_config_proxy=True,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            if "error" in event:
                raise UserError(f"{recipe.dockerfile}: {_one_line(event['error'])}; it said: {' | '.join(said)}")
            if line := _one_line(event.get("stream", "")):
                said.append(line)
                on_step(f"building {recipe.name}: {line}")
    except DockerException as error:
        raise UserError(f"{recipe.dockerfile}: {_one_line(str(error))}") from error


def _run(command: list[str], on_step: OnStep) -> None:
    said: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            if line := _one_line(raw):
                said.append(line)
                on_step(line)
    if process.returncode:
        raise UserError(f"`{' '.join(command[:4])} ...` failed; it said: {' | '.join(said)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
