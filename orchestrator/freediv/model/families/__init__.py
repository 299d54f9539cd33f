"""Hugging Face's model families, each in a file of its own; here by their model types."""

from __future__ import annotations

from .albert import ALBERT
from .bert import BERT
from .camembert import CAMEMBERT
from .deberta_v2 import DEBERTA_V2
from .deit import DEIT
from .distilbert import DISTILBERT
from .electra import ELECTRA
from .family import Family
from .modernbert import MODERNBERT
from .mpnet import MPNET
from .roberta import ROBERTA
from .vit import VIT
from .xlm_roberta import XLM_ROBERTA

__all__ = ["FAMILIES", "Family"]

FAMILIES: dict[str, Family] = {
    one.name: one
    for one in (
        BERT,
        MPNET,
        ROBERTA,
        XLM_ROBERTA,
        DISTILBERT,
        ELECTRA,
        ALBERT,
        DEBERTA_V2,
        MODERNBERT,
        CAMEMBERT,
        VIT,
        DEIT,
    )
}
