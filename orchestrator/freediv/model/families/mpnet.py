"""MPNet: Song et al. 2020. Scores have a bias by distance; positions begin at 2; there are no token types."""

from __future__ import annotations

from collections.abc import Iterator

from ..pieces.kind import ROBERTAS
from ..pieces.wordpiece import WordPiece
from .family import GAMMA_AND_BETA, Family, renamed

_LAYER = "mpnet.encoder.layer.{layer}"


def _others(key: str) -> Iterator[str]:
    if key.endswith(".attention.relative"):
        yield "mpnet.encoder.relative_attention_bias.weight"  # one for all layers; ours may learn one each
    yield from renamed(*GAMMA_AND_BETA, ("classifier.dense.", "mpnet.pooler.dense."))(key)


MPNET = Family(
    name="mpnet",
    prefix="MPNet",
    root="mpnet",
    embedding={
        "word": "mpnet.embeddings.word_embeddings",
        "position": "mpnet.embeddings.position_embeddings",
        "norm": "mpnet.embeddings.LayerNorm",
    },
    attention={
        "qkv": tuple(f"{_LAYER}.attention.attn.{part}" for part in "qkv"),
        "output": f"{_LAYER}.attention.attn.o",
        "norm": f"{_LAYER}.attention.LayerNorm",
    },
    feed_forward={
        "intermediate": f"{_LAYER}.intermediate.dense",
        "output": f"{_LAYER}.output.dense",
        "norm": f"{_LAYER}.output.LayerNorm",
    },
    # A dense layer, tanh and another: what BERT calls pooler and classifier.
    classifier={"pooler": "classifier.dense", "": "classifier.out_proj"},
    first_position=lambda pad_token: 2,
    defaults={"pad_token_id": 1},
    fields=lambda config: {"token_types": 0, "relative_buckets": config.get("relative_attention_num_buckets", 32)},
    keys=lambda architecture: {
        "type_vocab_size": architecture.token_types,
        "relative_attention_num_buckets": architecture.relative_buckets,
    },
    others=_others,
    refuses={"position_embedding_type": "absolute"},
    tokenizer=WordPiece(
        classes=("MPNetTokenizer",),
        special=ROBERTAS | {"unk_token": "[UNK]"},
        between=2,
        segments=False,
        mask_takes_space=True,
    ),
    aside=("lm_head.",),
)
