"""Attention functions: what turns scores into attention weights. Each in a file of its own; here by their names."""

from __future__ import annotations

from .function import AttentionFunction, WeightBound
from .none import NONE
from .relu2_freediv import RELU2_FREEDIV
from .relu_freediv import RELU_FREEDIV
from .softmax import SOFTMAX
from .softmax_freediv import SOFTMAX_FREEDIV
from .softmax_puma import SOFTMAX_PUMA
from .two_quad import TWO_QUAD, TWO_QUAD_GOLDSCHMIDT
from .two_quad_freediv import TWO_QUAD_FREEDIV

__all__ = ["ATTENTIONS", "AttentionFunction", "WeightBound"]

ATTENTIONS: dict[str, AttentionFunction] = {
    one.name: one
    for one in (
        SOFTMAX,
        TWO_QUAD,
        SOFTMAX_FREEDIV,
        TWO_QUAD_FREEDIV,
        RELU_FREEDIV,
        RELU2_FREEDIV,
        SOFTMAX_PUMA,
        TWO_QUAD_GOLDSCHMIDT,
        NONE,
    )
}
