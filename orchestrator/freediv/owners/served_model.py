"""The model that the parties serve, as far as it is public."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from safetensors.numpy import load as load_tensors

from ..cluster.configuration import OwnerConfig
from ..errors import UserError
from ..files import PRIVATE, replace_file
from ..model import Architecture, Certificate
from ..model.answers import answer_of
from ..model.reading import Reader, parse_reader
from ..party.models.model_store import BUNDLE
from ..wire import protocol_pb2 as pb
from ..wire.channels import Busy, NotAnswered, explain
from ..wire.share_transfer import MOST_BUNDLE, BadTransfer, collect

_BETWEEN_S = 0.2


@dataclass(frozen=True)
class ServedModel:
    """What is public about the model in use, the same at all parties; `digest` is the SHA-256 of all that."""

    model_id: str
    architecture: Architecture
    reader: Reader = field(repr=False)
    table: np.ndarray | None = field(repr=False)
    certificate: Certificate | None = None
    digest: str = ""


async def fetch_model(config: OwnerConfig, stubs: Sequence[Any]) -> ServedModel:
    """The public bundle of the model in use, after all parties named the same.

    It stays in the owner's folder, where that can be written: a public word table has megabytes, and is fetched once.

    Raises:
        UserError: a party cannot be reached, has no model, or serves another one than the rest; or it could answer
            wrongly without a sign, since it was measured for another cluster.
    """
    kept = config.folder / BUNDLE
    while True:
        used = await model_in_use(config, stubs)
        bundle = _read(kept)
        if _has_digest(bundle, used.bundle_sha256):
            break
        bundle = await _bundle(config, stubs[0])
        if _has_digest(bundle, used.bundle_sha256):
            with contextlib.suppress(OSError):
                replace_file(kept, bundle, PRIVATE, durable=True)
            break
        if used == await model_in_use(config, stubs):  # they did not switch meanwhile
            raise NotAnswered("party 0 sent another public bundle than all parties vouch for; tell the operators")
    model = ServedModel(used.model_id, *read_bundle(bundle), digest=used.bundle_sha256)
    if model.certificate is not None and (why := config.misfit(model.certificate, model.architecture)) is not None:
        raise UserError(f"the model in use could answer wrongly without a sign: {why}; tell the operators")
    if (why := answer_of(model.architecture).misfit(config.output)) is not None:
        raise UserError(f"the model in use cannot be asked: {why}; tell the operators")
    return model


def _read(path: Path) -> bytes:
    """What an earlier command kept; nothing where that cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _has_digest(bundle: bytes, sha256: str) -> bool:
    return hashlib.sha256(bundle).hexdigest() == sha256


async def model_in_use(config: OwnerConfig, stubs: Sequence[Any]) -> pb.ModelDescription:
    """The model that all parties name. They switch within a moment, in which it is waited for them to be of one mind.

    Raises:
        UserError: as `fetch_model`.
    """
    deadline = time.monotonic() + config.connect_s
    while True:
        wait = _BETWEEN_S
        try:
            found = await asyncio.gather(*(_described(config, rank, stub) for rank, stub in enumerate(stubs)))
            if all(one == found[0] for one in found):
                return found[0]
            problem = NotAnswered("the parties do not serve the same model; try again, or see `freediv status`")
        except Busy as busy:  # somebody else asks with the same certificate
            problem, wait = busy, busy.retry_after_s
        if time.monotonic() + wait > deadline:
            raise problem
        await asyncio.sleep(wait)


async def _described(config: OwnerConfig, rank: int, stub: Any) -> pb.ModelDescription:
    try:
        call = stub.GetModel(pb.GetModelRequest(agreement=config.digest()), timeout=config.connect_s)
        async for message in call:
            if message.WhichOneof("content") == "description":
                return message.description
    except grpc.aio.AioRpcError as error:
        raise await explain(error, config, rank) from None
    raise NotAnswered(f"party {rank} did not describe its model; see its log")


async def _bundle(config: OwnerConfig, stub: Any) -> bytes:
    request = pb.GetModelRequest(agreement=config.digest(), with_bundle=True)
    try:
        call = stub.GetModel(request, timeout=config.request_s)
        async for message in call:
            return await collect(call, min(message.description.bundle_bytes, MOST_BUNDLE))
    except grpc.aio.AioRpcError as error:
        raise await explain(error, config, 0) from None
    except BadTransfer as error:
        raise NotAnswered(f"party 0: {error}") from None
    raise NotAnswered("party 0 sent no bundle; see its log")


def read_bundle(bundle: bytes) -> tuple[Architecture, Reader, np.ndarray | None, Certificate | None]:
    """What a public bundle holds: the architecture, what reads for it and, where it is public, the word table; and what
    the model was measured for, where its owner does not go without.

    Raises:
        UserError: it cannot be read.
    """
    content = pb.Bundle()
    try:
        content.ParseFromString(bundle)
        architecture = Architecture.model_validate_json(content.architecture)
        certificate = Certificate.model_validate_json(content.certificate) if content.certificate else None
        table = load_tensors(content.word_table)["word"] if content.word_table else None
    except Exception as error:  # several libraries', none of which says what it raises
        kind = type(error).__name__
        raise UserError(f"the model's public bundle cannot be read ({kind}); tell the model owner") from None
    try:
        reader = parse_reader(architecture, content.tokenizer)
    except ValueError as error:
        raise UserError(
            f"the model's public bundle has {'a tokenizer' if architecture.padded else 'an image processor'} that is "
            f"refused: {error}; tell the model owner"
        ) from None
    if architecture.embedding == "public" and (
        table is None
        or table.shape != (architecture.vocabulary, architecture.embedding_size)
        or table.dtype not in (np.float16, np.float32)
        or not np.isfinite(table).all()
    ):
        raise UserError("the model's public bundle has no fitting word table; tell the model owner")
    return architecture, reader, table, certificate
