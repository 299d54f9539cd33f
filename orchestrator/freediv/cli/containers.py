"""`freediv images`: build what containers run."""

from __future__ import annotations

from pathlib import Path

import click

from ..files import opened_output


@click.group()
def images() -> None:
    """Build the images that containers run.

    \b
    Example:  freediv images build
    """


@images.command("build")
@click.option("--base", help="Base of the roles' image. [default: the public one; without a registry, Debian packages]")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    default=Path(),
    help="A checkout of the repository. [default: the working directory]",
)
def build_images(base: str | None, source: Path) -> None:
    """Build the images `freediv` (all roles) and `freediv-gateway`.

    Wheels are fetched here, as locked; the build itself needs no network. Where no image registry can be reached, the
    base is made from Debian packages (as root, with debootstrap).

    \b
    Example:  freediv images build
    """
    import time

    from ..deploy.containers.images import build
    from ..terminal import status_line

    started = time.monotonic()
    with status_line("starting") as show:
        for built in build(source, base, lambda step: show(step[:100])):
            click.echo(f"{built.name}  {built.size / 1e6:.0f} MB  on {built.base}")
    click.echo(f"{time.monotonic() - started:.0f} s; next: docker compose --file compose/one-host.yaml up")


@images.command("sbom")
@click.option("--image", default="freediv", show_default=True, help="Look into this image for Debian's packages.")
@click.option("--lock-only", is_flag=True, help="Only Python's packages, from the lock: needs no Docker engine.")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    default=Path(),
    help="A checkout of the repository. [default: the working directory]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it here. [default: print it]")
def sbom(image: str, lock_only: bool, source: Path, output: Path | None) -> None:
    """List what the image of the roles is made of: a CycloneDX bill of materials.

    Python's packages are listed with the digests that requirements.lock admits (scope `excluded`: locked, but taken out
    of the image), Debian's with their versions.

    \b
    Example:  freediv images sbom -o freediv.cdx.json
    """
    from ..deploy.containers.sbom import bill_of_materials, look_into, read_lock

    lock = read_lock(source / "requirements.lock")
    with opened_output(output) as file:
        text = bill_of_materials(lock, None if lock_only else look_into(image))
        if file is None:
            click.echo(text)
            return
        file.write(text + "\n")
    click.echo(
        f"{output}  {len(lock)} packages of Python" + ("" if lock_only else ", and Debian's"), err=file.is_printed
    )
