"""Where a function comes from, and how parties compute it: what surveys of private inference compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Of a function, in the columns of Li et al. 2025, "Private Transformer Inference in MLaaS" (arXiv 2505.10315).

    Attributes:
        technique: what stands for it on shares, in a few words.
        source: who published it.
        retrained: whether it takes another function's place in a trained model, which then has to be trained for it.
    """

    technique: str
    source: str
    retrained: bool
