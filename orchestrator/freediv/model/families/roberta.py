"""RoBERTa: Liu et al. 2019. BERT with byte-level pieces; positions begin after the padding piece's number; the head is
its own pooler.
"""

from __future__ import annotations

from ..pieces.byte_level import ByteLevel
from ..pieces.kind import ROBERTAS
from .family import GAMMA_AND_BETA, Family, attention_names, embedding_names, feed_forward_names, renamed

ROBERTA = Family(
    name="roberta",
    prefix="Roberta",
    root="roberta",
    embedding=embedding_names("roberta"),
    attention=attention_names("roberta"),
    feed_forward=feed_forward_names("roberta"),
    classifier={"pooler": "classifier.dense", "": "classifier.out_proj"},
    first_position=lambda pad_token: pad_token + 1,
    defaults={"pad_token_id": 1},
    fields=lambda config: {"token_types": 1},
    keys=lambda architecture: {"type_vocab_size": architecture.token_types},
    others=renamed(*GAMMA_AND_BETA),
    refuses={"position_embedding_type": "absolute"},
    tokenizer=ByteLevel(
        classes=("RobertaTokenizer",), special=ROBERTAS, between=2, segments=False, mask_takes_space=True
    ),
    aside=("lm_head.",),
)
