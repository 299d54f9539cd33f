"""Activation functions of the feed-forward block. Each in a file of its own kind; here by their names."""

from __future__ import annotations

from .function import ActivationBound, ActivationFunction
from .gelu import GELU, GELU_FOURIER, GELU_PUMA, GELU_TANH
from .none import NONE
from .quad import QUAD
from .relu import RELU
from .silu import SILU
from .tanh import TANH

__all__ = ["ACTIVATIONS", "ActivationBound", "ActivationFunction"]

ACTIVATIONS: dict[str, ActivationFunction] = {
    one.name: one for one in (GELU, GELU_TANH, RELU, SILU, TANH, QUAD, GELU_PUMA, GELU_FOURIER, NONE)
}
