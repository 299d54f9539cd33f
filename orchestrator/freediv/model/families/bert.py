"""BERT: Devlin et al. 2019."""

from __future__ import annotations

from ..pieces.wordpiece import WordPiece
from .family import GAMMA_AND_BETA, Family, attention_names, embedding_names, feed_forward_names, renamed

BERT = Family(
    name="bert",
    prefix="Bert",
    root="bert",
    embedding=embedding_names("bert"),
    attention=attention_names("bert"),
    feed_forward=feed_forward_names("bert"),
    classifier={"pooler": "bert.pooler.dense", "": "classifier"},
    fields=lambda config: {"token_types": config.get("type_vocab_size", 2)},
    keys=lambda architecture: {"type_vocab_size": architecture.token_types},
    others=renamed(*GAMMA_AND_BETA),
    refuses={"position_embedding_type": "absolute"},
    tokenizer=WordPiece(classes=("BertTokenizer", "MobileBertTokenizer")),
    aside=("cls.",),
)
