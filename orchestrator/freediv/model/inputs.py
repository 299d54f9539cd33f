"""From word pieces, or images, to the activations that a model starts from."""

from __future__ import annotations

import numpy as np

from .architecture import Architecture
from .masks import made_of_mask
from .pieces.pairs import second_text
from .stages import stages


def input_shapes(architecture: Architecture, batch: int, length: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what a data owner shares, by activation name."""
    known = {
        "one_hot": (batch, length, architecture.vocabulary),
        "rows": (batch, length, architecture.embedding_size),  # of a published table, or of images
        "segment": (batch, length),
    }
    known |= {name: one.shape for name, one in made_of_mask(architecture, np.ones((batch, length))).items()}
    read = {name for stage in stages(architecture, folded=True) for name in stage.inputs}
    return {name: shape for name, shape in known.items() if name in read}


def published_rows(architecture: Architecture, rows: np.ndarray) -> np.ndarray:
    """Rows [..., embedding_size] of a published table, float32, as a folded model reads them.

    A folded norm takes centred rows; what centres them otherwise does no harm to these.
    """
    rows = np.asarray(rows, np.float32)
    centre = architecture.centred_embedding and architecture.embedding_size == architecture.summed_width
    return rows - rows.mean(-1, keepdims=True) if centre else rows


def masks_of(architecture: Architecture, mask: np.ndarray) -> dict[str, np.ndarray]:
    """What some stage reads, by activation name, that is made of a mask [batch, length] alone: float32."""
    made = made_of_mask(architecture, mask.astype(np.float32))
    return {name: made[name] for name in input_shapes(architecture, *mask.shape) if name in made}


def prepare_inputs(
    architecture: Architecture, read: np.ndarray, mask: np.ndarray, *, table: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What a data owner shares: only the activations that some stage reads.

    Args:
        architecture: the model's.
        read: token ids [batch, length], padded to a bucket; or rows of images [batch, length, row_size].
        mask: [batch, length], 1 for real word pieces.
        table: the public word table [vocabulary, embedding_size]; needed where the embedding is public.

    Returns:
        float32 arrays by activation name, with the shapes of `input_shapes`. A padded position's row is zero, so that
        nothing depends on the padding token's embedding.
    """
    batch, length = read.shape[:2]
    real = mask.astype(np.float32)
    prepared: dict[str, np.ndarray] = {}
    for name in input_shapes(architecture, batch, length):
        if name == "one_hot":
            one_hot = np.zeros((batch, length, architecture.vocabulary), np.float32)
            np.put_along_axis(one_hot, read[..., None], 1.0, axis=-1)
            prepared[name] = one_hot * real[..., None]
        elif name == "rows" and architecture.patches is not None:
            prepared[name] = np.asarray(read, np.float32)
        elif name == "rows":
            if table is None:
                raise ValueError("a public embedding needs its table")
            prepared[name] = published_rows(architecture, table[read]) * real[..., None]
        elif name == "segment":
            assert architecture.separator_token is not None
            prepared[name] = second_text(read, architecture.separator_token) * real
    return prepared | masks_of(architecture, mask)
