"""CamemBERT: Martin et al. 2020. RoBERTa in French, with SentencePiece's pieces."""

from __future__ import annotations

from dataclasses import replace

from ..pieces.kind import ROBERTAS
from ..pieces.sentencepiece import SentencePiece
from .roberta import ROBERTA

CAMEMBERT = replace(
    ROBERTA,
    name="camembert",
    prefix="Camembert",
    tokenizer=SentencePiece(
        classes=("CamembertTokenizer",),
        special=ROBERTAS,
        between=2,
        segments=False,
        mask_takes_space=True,
        file="sentencepiece.bpe.model",
        # The model's own pieces for these are never to be found in a text.
        first=(("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0)),
        replaced=1,
        last=("<mask>",),
        unknown=3,
    ),
)
