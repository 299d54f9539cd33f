"""The model owner: folds a classifier, shares it, and has all parties switch to it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from safetensors.numpy import save

from ..cluster.configuration import OwnerConfig, read_owner_config
from ..cluster.identity import read_identity
from ..errors import UserError
from ..model import Architecture, Certificate, Model, fold, parameter_shapes, read_model, read_reader, resolve_model
from ..model.answers import answer_of
from ..model.checkpoints.certificate import capacity_bits
from ..model.reading.images import ImageReader
from ..wire import protocol_pb2 as pb
from ..wire import protocol_pb2_grpc as rpc
from ..wire.channels import NotAnswered, channels, explain
from ..wire.status import StoredModel, ask_parties
from .model_upload import OnProgress, Parameters, send_shares
from .upload_randomness import begin_sharing, sharing_digest


@dataclass(frozen=True)
class Loading:
    """A model that all parties switched to: its new id, the bytes sent to all parties together, and the seconds.

    `held` is the part of the weights (0 to 1) that all parties held from an upload that was cut.
    """

    model_id: str
    architecture: Architecture
    upload_bytes: int
    seconds: float
    held: float = 0.0


@dataclass(frozen=True)
class Offer:
    """A model ready to be shared: what is public about it, and its folded parameters by stage and name.

    `certificate` is None where its owner goes without.
    """

    architecture: Architecture
    certificate: Certificate | None
    bundle: bytes
    parameters: Parameters


def prepare_offer(name: str | Path, *, without_headroom: bool = False, check_pixels: bool = False) -> Offer:
    """Read and fold a model (a directory, or the name of a shipped one).

    Args:
        name: as `model.resolve_model` takes it.
        without_headroom: take a model whose headroom nobody measured, or that has none; its answers may then be wrong
            without a sign.
        check_pixels: have the parties compare each pixel that is sent with what the image processor makes, and give no
            answer to what has others (`model.pixel_ranges`).

    Raises:
        UserError: the model cannot be read, or has no measured headroom, or reads no pixels that could be checked.
    """
    directory = resolve_model(name)
    model = _with_ranges(directory) if check_pixels else read_model(directory)
    if model.certificate.headroom_bits is None and not without_headroom:
        raise UserError(
            f"{directory}: nobody measured the headroom of this model, so its answers could overflow unseen; "
            "convert it with `freediv convert`, or take the risk with --without-headroom"
        )
    if not model.architecture.bounded and not without_headroom:
        raise UserError(
            f"{directory}: a norm without a root bounds nothing, so its answers could overflow unseen on some text; "
            "take the risk with --without-headroom"
        )
    certificate = None if without_headroom else model.certificate
    folded = fold(model.architecture, model.parameters)
    parameters = {
        stage: {one: np.asarray(folded[stage][one], np.float32) for one in own}
        for stage, own in parameter_shapes(model.architecture, folded=True).items()
    }
    return Offer(model.architecture, certificate, _bundle(model, certificate, directory), parameters)


def _with_ranges(directory: Path) -> Model:
    model, reader = read_model(directory), read_reader(directory)
    patches = model.architecture.patches
    if patches is None or not isinstance(reader, ImageReader):
        raise UserError(f"{directory}: --check-pixels: the model reads texts, and has no pixels to check; leave it out")
    compared = patches.model_copy(update={"ranges": reader.processor.ranges(patches.channels)})
    return replace(model, architecture=model.architecture.model_copy(update={"patches": compared}))


def load(
    folder: Path,
    model: str | Path,
    *,
    without_headroom: bool = False,
    fresh_budget: bool = False,
    check_pixels: bool = False,
    on_progress: OnProgress = lambda step, fraction: None,
) -> Loading:
    """Share a model with the parties that a model owner's folder names, and have them switch to it.

    If it was cut off before, it goes on where it was, as long as the parties keep what they have (`unfinished_s`).

    Args:
        folder: the model owner's.
        model: a model's directory, or the name of one that is shipped.
        without_headroom: as for `prepare_offer`.
        fresh_budget: have data owners' budgets begin anew, also where a model that is alike in all that is public was
            served before; what was asked of that one counts otherwise (`party.quotas`).
        check_pixels: as for `prepare_offer`.
        on_progress: told what is done, and the fraction of it.

    Raises:
        UserError: the folder, the model or a party is not as it should be; the parties keep the model that they had.
    """
    config = read_owner_config(folder)
    offer = prepare_offer(model, without_headroom=without_headroom, check_pixels=check_pixels)
    return asyncio.run(load_offer(config, offer, on_progress, fresh_budget=fresh_budget))


async def load_offer(
    config: OwnerConfig,
    offer: Offer,
    on_progress: OnProgress = lambda step, fraction: None,
    *,
    fresh_budget: bool = False,
) -> Loading:
    """Share a prepared model; see `load`."""
    started = time.monotonic()
    if offer.certificate is not None and (why := config.misfit(offer.certificate, offer.architecture)) is not None:
        raise UserError(
            f"this model's answers could be wrong without a sign: {why}, or take the risk with --without-headroom"
        )
    if (why := answer_of(offer.architecture).misfit(config.output)) is not None:
        raise UserError(f"the parties could not serve this model: {why}")
    _insist_on_small_weights(offer, config)
    identity = read_identity(config)
    digest = await asyncio.to_thread(sharing_digest, config, offer.bundle, offer.parameters, fresh_budget=fresh_budget)
    sharing = begin_sharing(config.folder, digest)
    async with channels(config, identity) as opened:
        stubs = [rpc.ModelOwnerStub(channel) for channel in opened]  # type: ignore[no-untyped-call]
        sent = await send_shares(
            config, stubs, sharing, offer.bundle, offer.parameters, on_progress, fresh_budget=fresh_budget
        )
        try:
            await _activate(config, stubs[0], sharing.model_id, on_progress)
        except UserError:
            if sent.held == 1:  # it may be what they hold that is to blame: the next upload begins anew
                sharing.finish()
            raise
    sharing.finish()
    return Loading(sharing.model_id, offer.architecture, sent.nbytes, time.monotonic() - started, sent.held)


def _insist_on_small_weights(offer: Offer, config: OwnerConfig) -> None:
    largest = 2.0 ** capacity_bits(config.fraction_bits)
    for stage, own in offer.parameters.items():
        for name, values in own.items():
            if not np.all(np.abs(values) < largest):  # also false for NaN
                raise UserError(
                    f"{stage}: {name}, with all that is folded into it, has a number beyond {largest:.3g}, which the "
                    f"ring has no room for with {config.fraction_bits} fraction bits; the model cannot be served"
                )


def rollback(
    folder: Path, model_id: str | None = None, *, on_progress: OnProgress = lambda step, fraction: None
) -> StoredModel:
    """Have all parties switch back to a model that they still keep; nothing is uploaded.

    Args:
        folder: the model owner's.
        model_id: or the beginning of one; None: the model that was in use before the present one.
        on_progress: as for `load`.

    Raises:
        UserError: there is no such model, or a party does not answer; the parties keep the model that they have.
    """
    return asyncio.run(_rollback(read_owner_config(folder), model_id, on_progress))


async def _rollback(config: OwnerConfig, wanted: str | None, on_progress: OnProgress) -> StoredModel:
    first = (await ask_parties(config))[0]
    if not first.answers:
        raise NotAnswered(first.problem)
    others = [one for one in first.stored if one.model_id != first.model_id]
    found = others[:1] if wanted is None else [one for one in others if one.model_id.startswith(wanted)]
    if len(found) != 1:
        kept = ", ".join(one.model_id for one in others) or "none"
        what = "no model before the one in use" if wanted is None else f"{'several models' if found else 'no model'}"
        raise UserError(f"the parties keep {what}{f' {wanted}...' if wanted else ''} to go back to (they keep {kept})")
    async with channels(config, read_identity(config)) as opened:
        stub = rpc.ModelOwnerStub(opened[0])  # type: ignore[no-untyped-call]
        await _activate(config, stub, found[0].model_id, on_progress)
    return found[0]


async def _activate(config: OwnerConfig, stub: Any, model_id: str, on_progress: OnProgress) -> None:
    try:
        async for event in stub.Activate(pb.ActivateRequest(model_id=model_id), timeout=config.load_s):
            on_progress(event.step, event.fraction)
    except grpc.aio.AioRpcError as error:
        raise await explain(error, config, 0) from None


def _bundle(model: Model, certificate: Certificate | None, directory: Path) -> bytes:
    reader = read_reader(directory).content()  # in which tokenizer_config.json has had its say
    bundle = pb.Bundle(architecture=model.architecture.model_dump_json(), tokenizer=reader)
    if certificate is not None:
        bundle.certificate = certificate.model_dump_json()
    table = model.public_table
    if table is not None:
        half = table.astype(np.float16)
        # A table that was stored in half precision travels in it.
        bundle.word_table = save({"word": half if np.array_equal(half.astype(table.dtype), table) else table})
    return bundle.SerializeToString(deterministic=True)
