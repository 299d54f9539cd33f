"""Mixed non-linear quantisation: Kim et al. 2024 (arXiv 2407.18437), tried as published, for evaluation alone."""

from __future__ import annotations

from .fq_vit import FQ_VIT
from .i_bert import I_BERT
from .i_vit import I_VIT
from .method import Method

__all__ = ["METHODS", "MIXED", "Method"]

METHODS: dict[str, Method] = {one.name: one for one in (I_BERT, FQ_VIT, I_VIT)}
MIXED = "mixed"
"""The method that loses least, for each slot."""
