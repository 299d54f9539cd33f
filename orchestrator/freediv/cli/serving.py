"""`freediv serve`: the data owner's door."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..door.served import Models

_PATH = click.Path(path_type=Path)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


@click.command()
@click.argument("directories", metavar="[NAME=]DIR...", nargs=-1, required=True)
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Address and port; port 0 is any free one.")
@click.option("--unix", type=_PATH, help="Listen on a Unix socket here, in place of an address.")
@click.option("--token-file", type=_PATH, help="Callers show the token in this file: Authorization: Bearer TOKEN.")
@click.option("--tls-certificate", type=_PATH, help="Serve HTTPS with this certificate (PEM), and --tls-key.")
@click.option("--tls-key", type=_PATH, help="Its private key (PEM).")
@click.option("--client-ca", type=_PATH, help="Callers show a certificate that this authority has issued (PEM).")
@click.option("--published", metavar="HOST:PORT", help="The one address at which others reach it: of a container.")
@click.option("--host-name", "host_names", multiple=True, help="Another name by which callers may call it.")
@click.option("--name", help="Which data owner, where a rendered directory holds several.")
@click.option("--max-client-batch-size", default=256, show_default=True, type=click.IntRange(1, 4096))
@click.option("--max-concurrent-requests", default=512, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--payload-limit", default=2_000_000, show_default=True, type=click.IntRange(1000, 100_000_000))
@click.option(
    "--image-limit",
    default=16_000_000,
    show_default=True,
    type=click.IntRange(1000, 100_000_000),
    help="Bytes of a body that is an image.",
)
@click.option(
    "--places",
    default=16,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Requests that are with one deployment's parties at a time; the others wait here.",
)
@click.option("--deadline", default=300.0, show_default=True, type=click.FloatRange(1, 86400), help="Seconds.")
def serve(
    directories: tuple[str, ...],
    listen: str,
    unix: Path | None,
    token_file: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    published: str | None,
    host_names: tuple[str, ...],
    name: str | None,
    max_client_batch_size: int,
    max_concurrent_requests: int,
    payload_limit: int,
    image_limit: int,
    places: int,
    deadline: float,
) -> None:
    """Answer programs in HTTP, as a data owner: they send texts or images here, and no party sees them.

    Speaks what clients of text-embeddings-inference, of OpenAI's embeddings and of Hugging Face's InferenceClient
    speak. DIR is a rendered directory or a data owner's folder. Several are replicas, where they serve one model, or
    several models, each at /models/NAME.

    \b
    Example:  freediv serve deployment
              curl 127.0.0.1:8080/predict --json '{"inputs": "a film with a heart"}'
              curl 127.0.0.1:8080/predict --header content-type:image/png --data-binary @picture.png
    """
    from ..cluster.folders import owner_folder
    from ..door.limits import DoorLimits
    from ..door.opening import Opening, open_door
    from ..door.server import Listening

    if (tls_certificate is None) != (tls_key is None) or (client_ca is not None and tls_certificate is None):
        raise UserError("--tls-certificate and --tls-key are given together, and --client-ca with them")
    named = [_named(directory) for directory in directories]
    opening = Opening(
        [(label, owner_folder(directory, "data-owner", name)) for label, directory in named],
        Listening(*_address(listen, "--listen"), unix, tls_certificate, tls_key, client_ca),
        token_file,
        None if published is None else _address(published, "--published"),
        host_names,
        DoorLimits(
            payload_limit=payload_limit,
            image_limit=image_limit,
            max_client_batch_size=max_client_batch_size,
            max_concurrent_requests=max_concurrent_requests,
            places=places,
            deadline_s=deadline,
        ),
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("freediv").setLevel(logging.INFO)

    def say(address: str, models: Models) -> None:
        click.echo(f"{', '.join(models.by_name)} at {address}")

    open_door(opening, say)


def _named(given: str) -> tuple[str | None, Path]:
    """A folder, and the name that its model is to have."""
    name, equals, directory = given.partition("=")
    if not equals or not _NAME.fullmatch(name):
        return None, Path(given)
    return name, Path(directory)


def _address(given: str, option: str) -> tuple[str, int]:
    host, colon, port = given.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{option} {given}: give an address and a port, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)
