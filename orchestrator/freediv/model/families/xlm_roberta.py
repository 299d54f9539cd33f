"""XLM-R: Conneau et al. 2020. RoBERTa with the pieces of a hundred languages."""

from __future__ import annotations

from dataclasses import replace

from ..pieces.kind import ROBERTAS
from ..pieces.sentencepiece import SentencePiece
from .roberta import ROBERTA

XLM_ROBERTA = replace(
    ROBERTA,
    name="xlm-roberta",
    prefix="XLMRoberta",
    tokenizer=SentencePiece(
        classes=("XLMRobertaTokenizer",),
        special=ROBERTAS,
        between=2,
        segments=False,
        mask_takes_space=True,
        file="sentencepiece.bpe.model",
        first=(("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)),
        replaced=3,
        last=("<mask>",),
        unknown=3,
    ),
)
