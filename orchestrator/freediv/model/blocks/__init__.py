"""The blocks that a model is made of, each in a file of its own; and those of an architecture, in their order."""

from __future__ import annotations

from functools import lru_cache

from ..architecture import Architecture
from .attention import Attention, multiply_heads
from .block import Block, Bound, Rows
from .classifier import Classifier
from .disentangled_attention import DisentangledAttention
from .embedding import Embedding
from .feed_forward import FeedForward
from .patch_embedding import PatchEmbedding
from .pooling import Pooling

__all__ = ["Block", "Bound", "Classifier", "Embedding", "Rows", "blocks_of", "multiply_heads"]


@lru_cache(maxsize=64)
def blocks_of(architecture: Architecture) -> tuple[Block, ...]:
    """All blocks of a model, in the order in which they run; each knows the norm whose weight it takes in."""
    found: list[Block] = [Embedding(architecture) if architecture.patches is None else PatchEmbedding(architecture)]
    attention = Attention if architecture.disentangled is None else DisentangledAttention
    for layer in range(architecture.layers):
        found.append(attention(architecture, layer, before=found[-1].after.name))
        found.append(FeedForward(architecture, layer, before=found[-1].after.name))
        if architecture.size_of(layer).pool is not None:
            found.append(Pooling(architecture, layer, before=found[-1].after.name))
    return (*found, Classifier(architecture, before=found[-1].after.name))
