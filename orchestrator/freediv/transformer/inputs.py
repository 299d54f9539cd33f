"""From word pieces to the activations that a model starts from."""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from .architecture import Architecture
from .pairs import second_text
from .stages import stages


def bucket_for(architecture: Architecture, pieces: int) -> int:
    """The shortest bucket that holds a sentence of so many word pieces.

    Raises:
        UserError: the sentence is longer than the longest bucket.
    """
    for bucket in architecture.buckets:
        if pieces <= bucket:
            return bucket
    raise UserError(
        f"the sentence has {pieces} word pieces, the longest bucket of this model holds {architecture.buckets[-1]}: "
        "shorten it"
    )


def input_shapes(architecture: Architecture, batch: int, length: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what a data owner shares, by activation name."""
    known = {
        "one_hot": (batch, length, architecture.vocabulary),
        "rows": (batch, length, architecture.embedding_size),
        "segment": (batch, length),
        "mask": (batch, length),
        "mask_over_length": (batch, length),
    }
    read = {name for stage in stages(architecture, folded=True) for name in stage.inputs}
    return {name: shape for name, shape in known.items() if name in read}


def prepare_inputs(
    architecture: Architecture, token_ids: np.ndarray, mask: np.ndarray, *, table: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What a data owner shares: only the activations that some stage reads.

    Args:
        architecture: the model's.
        token_ids: [batch, length], padded to a bucket.
        mask: [batch, length], 1 for real word pieces.
        table: the public word table [vocabulary, embedding_size]; needed where the embedding is public.

    Returns:
        float32 arrays by activation name, with the shapes of `input_shapes`. A padded position's row is zero, so that
        nothing depends on the padding token's embedding.
    """
    batch, length = token_ids.shape
    real = mask.astype(np.float32)
    prepared: dict[str, np.ndarray] = {}
    for name in input_shapes(architecture, batch, length):
        if name == "one_hot":
            one_hot = np.zeros((batch, length, architecture.vocabulary), np.float32)
            np.put_along_axis(one_hot, token_ids[..., None], 1.0, axis=-1)
            prepared[name] = one_hot * real[..., None]
        elif name == "rows":
            if table is None:
                raise ValueError("a public embedding needs its table")
            rows = np.asarray(table, np.float32)[token_ids] * real[..., None]
            # A folded norm takes centred rows; what centres them otherwise does no harm to these.
            centre = architecture.embedding_norm != "none" and architecture.embedding_size == architecture.hidden
            prepared[name] = rows - rows.mean(-1, keepdims=True) if centre else rows
        elif name == "segment":
            assert architecture.separator_token is not None
            prepared[name] = second_text(token_ids, architecture.separator_token) * real
        elif name == "mask":
            prepared[name] = real
        else:
            prepared[name] = real / np.maximum(real.sum(axis=-1, keepdims=True), 1.0)
    return prepared
