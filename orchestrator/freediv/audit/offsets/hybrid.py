"""A network under a hybrid protocol of two parties, in simulation, and its client's handle on what lies between layers.

In hybrid protocols (linear layers under homomorphic encryption, as in Gazelle, Delphi or Cheetah, non-linear ones
under two-party computation) the client holds one additive share of every intermediate value, and hands it in before
each non-linear layer and takes it up after. So a client that deviates can add what it likes, before and after.

The ring has 64 bits. What is simulated as an ideal box: encryption (the server multiplies what it cannot read, and adds
a fresh mask), and the non-linear layers, in which shares go in, and fresh shares come out. The arithmetic of shares is
the protocols' own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...mpc.replicated.words import encode

Ring = np.ndarray
"""uint64, mod 2^64."""


@dataclass(frozen=True)
class Network:
    """Linear layers with rectifiers between them, as ring elements.

    Attributes:
        weights: of each layer, [inputs, outputs], with `bits` fraction bits.
        biases: of each layer, [outputs], with twice as many.
        bits: fraction bits.
    """

    weights: tuple[Ring, ...]
    biases: tuple[Ring, ...]
    bits: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the input and of each layer's output; public."""
        return (len(self.weights[0]), *(weight.shape[1] for weight in self.weights))

    def numbers(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights and biases of a layer as they are computed with."""
        weight, bias = (x[layer].view(np.int64) for x in (self.weights, self.biases))
        return weight / 2.0**self.bits, bias / 4.0**self.bits


def make_network(widths: Sequence[int], bits: int, seed: int) -> Network:
    """Random weights and biases as a training starts with (He et al., ICCV 2015)."""
    random = np.random.default_rng(seed)
    shapes = list(itertools.pairwise(widths))
    weights = tuple(encode(random.normal(0.0, np.sqrt(2 / n), (n, m)), bits) for n, m in shapes)
    return Network(weights, tuple(encode(random.normal(0.0, 0.1, m), 2 * bits) for _, m in shapes), bits)


def of_numbers(layers: Sequence[tuple[np.ndarray, np.ndarray]], bits: int) -> Network:
    """A network of weights [inputs, outputs] and biases [outputs]."""
    return Network(tuple(encode(w, bits) for w, _ in layers), tuple(encode(b, 2 * bits) for _, b in layers), bits)


def plain_labels(network: Network, x: np.ndarray) -> np.ndarray:
    """What the network says, in floating point, of x [count, inputs]."""
    for layer in range(len(network.weights)):
        weight, bias = network.numbers(layer)
        x = x @ weight + bias
        x = x if layer + 1 == len(network.weights) else np.maximum(x, 0)
    return x.argmax(axis=1)


class Handle(Protocol):
    """What whoever attacks can do: ask, with offsets of their choice around each non-linear layer.

    Attributes:
        widths: of the input and of each layer's output; public.
        bits: fraction bits; public.
        queries: how many texts were asked about.
    """

    widths: tuple[int, ...]
    bits: int
    queries: int

    def ask(self, x: Ring, before: Sequence[Ring], after: Sequence[Ring]) -> np.ndarray:
        """Labels [count].

        Args:
            x: inputs [count, inputs], with `bits` fraction bits.
            before: to be added to each layer's output [count, outputs], with `bits` fraction bits: before its
                rectifier, or before the largest logit is looked for.
            after: to be added after each rectifier [count, outputs], likewise.
        """


class HybridClient:
    """The client's end of the simulated protocol. It deviates in nothing but the shares that it hands in."""

    def __init__(self, network: Network, seed: int) -> None:
        self._network, self._random = network, np.random.default_rng(seed)
        self.widths, self.bits, self.queries = network.widths, network.bits, 0

    def ask(self, x: Ring, before: Sequence[Ring], after: Sequence[Ring]) -> np.ndarray:
        """As `Handle` has it."""
        self.queries += len(x)
        network, shift = self._network, np.uint64(self.bits)
        client, server = x, np.zeros_like(x)
        last = len(network.weights) - 1
        for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            # The server multiplies the client's share under encryption, and keeps a fresh mask.
            mask = self._uniform((len(x), weight.shape[1]))
            client, server = client @ weight - mask, server @ weight + bias + mask
            client = client + (before[layer] << shift)  # the client's doing
            z = client + server  # within the ideal box
            if layer == last:
                return z.view(np.int64).argmax(axis=1)
            h = (np.maximum(z.view(np.int64), 0) >> np.int64(self.bits)).view(np.uint64)
            client = self._uniform(h.shape)
            server = h - client
            client = client + after[layer]  # the client's doing
        raise AssertionError("a network has a last layer")

    def _uniform(self, shape: tuple[int, ...]) -> Ring:
        return self._random.integers(0, 2**64, shape, dtype=np.uint64)
