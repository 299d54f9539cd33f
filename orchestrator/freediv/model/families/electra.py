"""ELECTRA: Clark et al. 2020. BERT whose embedding may be narrower, with a map after its norm; GELU in its head."""

from __future__ import annotations

from ..architecture import Architecture
from ..pieces.wordpiece import WordPiece
from .family import GAMMA_AND_BETA, Config, Family, attention_names, embedding_names, feed_forward_names, renamed


def _fields(config: Config) -> dict[str, object]:
    width = config["embedding_size"]
    return {
        "token_types": config.get("type_vocab_size", 2),
        "embedding_size": width,
        "embedding_width": None if width == config["hidden_size"] else width,
    }


def _keys(architecture: Architecture) -> dict[str, object]:
    return {"type_vocab_size": architecture.token_types, "embedding_size": architecture.summed_width}


ELECTRA = Family(
    name="electra",
    prefix="Electra",
    root="electra",
    tokenizer=WordPiece(classes=("ElectraTokenizer",)),
    embedding=embedding_names("electra") | {"map": "electra.embeddings_project"},
    attention=attention_names("electra"),
    feed_forward=feed_forward_names("electra"),
    classifier={"pooler": "classifier.dense", "": "classifier.out_proj"},
    pooler="gelu",
    defaults={"embedding_size": 128},
    fields=_fields,
    keys=_keys,
    others=renamed(*GAMMA_AND_BETA),
    refuses={"position_embedding_type": "absolute"},
    aside=("discriminator_predictions.", "generator_predictions.", "generator_lm_head."),
)
