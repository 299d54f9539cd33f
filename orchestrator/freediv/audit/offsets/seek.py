"""SEEK: a network's weights out of labels, for whoever can add offsets around its non-linear layers.

Chen et al., "SEEK: model extraction attack against hybrid secure inference protocols" (arXiv 2209.06373, 2022), of
which no full text was at hand. Labels alone are seen; layers fall one by one, whatever the depth. **Reconstructed** as:

1. An offset of -B before the rectifiers of layer l - 1 makes all their outputs 0; v added after them makes the input of
   layer l exactly v.
2. In layer l all neurons are killed so but neuron j, which is given the offset t.
3. Later rectifiers are made to do nothing (B before, -B after), so that logits are linear in the neuron's output. Their
   own offsets make all logits equal while it is dead. Let the label a win at the neuron's output -T, and b at T: no
   pair of labels is further apart. All others are killed, a gets a little more: the label is a while the neuron is
   dead, and turns to b once it lives.
4. Bisecting t finds where the label turns: at c_j - z_j(v), with a c_j that does not depend on v, and that bisecting an
   offset after the dead neuron gives. Differences over s e_i and 0 give the weights; s > 1, more digits of them.
5. The last layer's weights are differences of logits, which bisection of their offsets gives: all but what is common to
   all labels, which changes none.

Needed are the widths and the fraction bits, which are public.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...mpc.replicated.words import encode
from .hybrid import Handle, Network, plain_labels

_BEYOND = 2.0**12
"""B: an offset that no neuron's sum reaches."""
_LARGE = 2.0**7
"""T: a neuron's output that shows what it does to logits."""
_SCALE = 2.0**5
"""s: of the basis vectors."""
_REACH = 2.0**6
"""Within which a neuron's sums and differences of logits are looked for first; doubled where that is too little."""
_DOUBLINGS = 5
_MARGIN = 64
"""By how many units of the last place the first label leads while a neuron is dead: more than truncations move it."""


@dataclass(frozen=True)
class StolenLayer:
    """What was found of a layer: weights [inputs, outputs], biases [outputs], and what that took.

    Of the last layer, both are without what its first label has.
    """

    weights: np.ndarray
    biases: np.ndarray
    queries: int

    @property
    def queries_per_parameter(self) -> float:
        """Of those that a label depends on."""
        return self.queries / self.parameters

    @property
    def parameters(self) -> int:
        """How many numbers were found."""
        return self.weights.size + self.biases.size


def steal(handle: Handle, on_progress: Callable[[int], None] = lambda layers: None) -> tuple[StolenLayer, ...]:
    """All layers of a network behind a handle; `on_progress` hears how many are done.

    Raises:
        RuntimeError: a sum lies beyond what offsets reach.
    """
    found = []
    for layer in range(len(handle.widths) - 1):
        found.append(_Layer(handle, layer).steal())
        on_progress(layer + 1)
    return tuple(found)


def error(stolen: StolenLayer, network: Network, layer: int) -> float:
    """The mean error of a layer's weights over their mean magnitude."""
    weight, _ = network.numbers(layer)
    if layer + 1 == len(network.weights):
        weight = weight - weight[:, :1]
    return float(np.abs(stolen.weights - weight).mean() / np.abs(weight).mean())


def copy_agreement(stolen: tuple[StolenLayer, ...], network: Network, count: int, seed: int) -> float:
    """How often the stolen network gives the label of the other, over random inputs."""
    x = np.random.default_rng(seed).normal(0.0, 1.0, (count, network.widths[0]))
    h = x
    for number, own in enumerate(stolen):
        h = h @ own.weights + own.biases
        h = h if number + 1 == len(stolen) else np.maximum(h, 0)
    return float((h.argmax(axis=1) == plain_labels(network, x)).mean())


class _Layer:
    """The attack on one layer."""

    def __init__(self, handle: Handle, layer: int) -> None:
        self._handle, self._layer = handle, layer
        self._inputs, self._outputs = handle.widths[layer : layer + 2]
        self._labels = handle.widths[-1]
        self._is_last = layer + 2 == len(handle.widths)
        self._began = handle.queries

    def steal(self) -> StolenLayer:
        # One row for the zero vector, and one for each basis vector.
        vectors = np.concatenate([np.zeros((1, self._inputs)), _SCALE * np.eye(self._inputs)])
        sums = self._differences(vectors) if self._is_last else self._sums(vectors)
        weights, biases = (sums[1:] - sums[:1]) / _SCALE, sums[0]
        return StolenLayer(weights, biases, self._handle.queries - self._began)

    def _sums(self, vectors: np.ndarray) -> np.ndarray:
        """z_j(v): [vectors, neurons]."""
        even, count = self._even_logits(), len(vectors)
        first, second = self._labels_of_neurons(even)
        rows, neurons = np.repeat(np.arange(count), self._outputs), np.tile(np.arange(self._outputs), count)
        logits = np.full((self._outputs, self._labels), -_BEYOND)
        every = np.arange(self._outputs)
        for chosen, more in ((second, 0), (first, _MARGIN)):
            logits[every, chosen] = even[chosen] + more * self._unit

        def alive(some: np.ndarray, t: np.ndarray) -> np.ndarray:
            before = np.full((len(some), self._outputs), -_BEYOND)
            before[np.arange(len(some)), neurons[some]] = t
            labels = self._ask(vectors[rows[some]], before, np.zeros_like(before), logits[neurons[some]])
            return labels == second[neurons[some]]

        def lifted(some: np.ndarray, t: np.ndarray) -> np.ndarray:
            after = np.zeros((len(some), self._outputs))
            after[np.arange(len(some)), some] = t
            dead = np.full_like(after, -_BEYOND)
            return self._ask(np.zeros((len(some), self._inputs)), dead, after, logits[some]) == second[some]

        turns = self._bisect(lifted, self._outputs)
        return turns - self._bisect(alive, len(rows)).reshape(count, self._outputs)

    def _labels_of_neurons(self, even: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels that each neuron's output takes away from most, and adds to most."""
        size = self._outputs
        nothing, dead = np.zeros((size, self._inputs)), np.full((size, size), -_BEYOND)
        low, high = (
            self._ask(nothing, dead, sign * _LARGE * np.eye(size), np.broadcast_to(even, (size, self._labels)))
            for sign in (-1, 1)
        )
        # A neuron that changes no label has the same for both; any other will do, as it is never seen.
        return low, np.where(high == low, (low + 1) % self._labels, high)

    def _even_logits(self) -> np.ndarray:
        """Offsets that make all logits equal while this layer is dead, [labels]."""
        dead = np.full((1, self._outputs), -_BEYOND)
        return np.concatenate([[0.0], -self._logits(np.zeros((1, self._inputs)), dead)[0]])

    def _differences(self, vectors: np.ndarray) -> np.ndarray:
        """Logits less the first one's, [vectors, labels]."""
        found = self._logits(vectors, None)
        return np.concatenate([np.zeros((len(vectors), 1)), found], axis=1)

    def _logits(self, vectors: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Logits but the first, less the first: [vectors, labels - 1]."""
        others = self._labels - 1
        rows, labels = np.repeat(np.arange(len(vectors)), others), np.tile(np.arange(1, others + 1), len(vectors))

        def larger(some: np.ndarray, t: np.ndarray) -> np.ndarray:
            logits = np.full((len(some), self._labels), -_BEYOND)
            logits[:, 0] = 0
            logits[np.arange(len(some)), labels[some]] = t
            own = None if before is None else np.broadcast_to(before, (len(some), self._outputs))
            after = None if own is None else np.zeros_like(own)
            return self._ask(vectors[rows[some]], own, after, logits) == labels[some]

        return -self._bisect(larger, len(rows)).reshape(len(vectors), others)

    @property
    def _unit(self) -> float:
        return 2.0**-self._handle.bits

    def _bisect(self, alive: Callable[[np.ndarray, np.ndarray], np.ndarray], count: int) -> np.ndarray:
        """For each of so many questions, the offset from which on the answer is yes; all at once.

        Raises:
            RuntimeError: the answer is the same wherever offsets reach.
        """
        result, open_ones, reach = np.empty(count), np.arange(count), _REACH
        for _ in range(_DOUBLINGS):
            low, high = np.full(len(open_ones), -reach), np.full(len(open_ones), reach)
            for _ in range(int(np.log2(2 * reach / self._unit))):
                middle = (low + high) / 2
                yes = alive(open_ones, middle)
                low, high = np.where(yes, low, middle), np.where(yes, middle, high)
            result[open_ones] = high
            open_ones = open_ones[(low == -reach) | (high == reach)]
            if not len(open_ones):
                return result
            reach *= 2
        raise RuntimeError(f"layer {self._layer + 1}: a sum lies beyond {reach / 2:g}")

    def _ask(
        self, vectors: np.ndarray, before: np.ndarray | None, after: np.ndarray | None, logits: np.ndarray
    ) -> np.ndarray:
        """Labels, with this layer's input at `vectors`, its offsets, and those of logits; in the last layer, where
        offsets are those of logits, `before` and `after` are None.
        """
        handle, count = self._handle, len(vectors)
        hidden = handle.widths[1:-1]
        befores, afters = [], []
        for layer, width in enumerate(hidden):
            if layer == self._layer:
                assert before is not None
                assert after is not None
                pair = before, after
            else:
                sign = -1 if layer < self._layer else 1
                quiet = np.zeros((count, width)) if sign < 0 else np.full((count, width), -_BEYOND)
                pair = np.full((count, width), sign * _BEYOND), vectors if layer == self._layer - 1 else quiet
            befores.append(self._encode(pair[0]))
            afters.append(self._encode(pair[1]))
        befores.append(self._encode(logits))
        x = vectors if self._layer == 0 else np.zeros((count, handle.widths[0]))
        return handle.ask(self._encode(x), befores, afters)

    def _encode(self, numbers: np.ndarray) -> np.ndarray:
        return encode(numbers, self._handle.bits)
