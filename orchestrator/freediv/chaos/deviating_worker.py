"""The worker of a party that deviates: it follows the protocol with another bias than the one that it was given.

What it adds to its word of the classifier's bias goes into its summand of the logits, before that is truncated: the
result is a sharing like any other, so that neither parties nor owners find anything to compare. SEEK's handle in
`audit.offsets.deviation` is the same, between all layers and with other offsets for each query.
"""

from __future__ import annotations

import numpy as np

from ..model import Stage
from ..mpc.engine import ENGINES
from ..mpc.replicated.words import encode
from ..mpc.shares_engine import SharesEngine, share_of
from ..mpc.sharing.shares import Share
from ..mpc.worker import child

OFFSET = 64.0
"""Beyond all logits: the first of what the classifier gives becomes the largest."""


class FavouringEngine(SharesEngine):
    """Has the first label win, whatever the text."""

    def load(self, stage: Stage, name: str, share: Share) -> None:
        """As usual, but for the bias."""
        if (stage.name, name) == ("classifier", "bias"):
            words = np.stack(share.words())
            words[0, 0] += encode(np.array(OFFSET), self._runtime.settings.fraction_bits)
            share = share_of(words)
        super().load(stage, name, share)


def main() -> None:
    """Be that worker."""
    ENGINES["shares"] = FavouringEngine
    child.main()


if __name__ == "__main__":
    main()
