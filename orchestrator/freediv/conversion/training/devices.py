"""The devices that a step is spread over."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..texts.batches import Batch
from .phase import batch_arrays

Tree = TypeVar("Tree")


class Devices:
    """All that JAX sees: each has the parameters and all else that stays, and an equal share of a batch's rows, and XLA
    adds up what they find. Of a single one nothing is said to XLA.
    """

    def __init__(self) -> None:
        mesh = Mesh(np.array(jax.devices()), ("rows",))
        self.count = mesh.size
        whole = NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]
        self.whole = whole if self.count > 1 else None
        """How what each of them has lies on them."""
        self._parted = NamedSharding(mesh, PartitionSpec("rows"))  # type: ignore[no-untyped-call]

    def everywhere(self, tree: Tree) -> Tree:
        """Arrays on each of the devices."""
        placed: Tree = jax.device_put(tree, self.whole)
        return placed

    def batch(self, batch: Batch, progress: float) -> dict[str, Any]:
        """`batch_arrays`, parted by rows, which are filled up to as many for each device."""
        if self.whole is None:
            return batch_arrays(batch, progress)
        arrays = batch_arrays(batch.filled(-len(batch.weight) % self.count), progress)
        return jax.device_put(
            arrays, {name: self._parted if np.ndim(own) else self.whole for name, own in arrays.items()}
        )


@cache
def devices() -> Devices:
    """Those of this process."""
    return Devices()
