"""A model owner whose tools have no scruples: what they load is refused by whom it is aimed at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deployment.conftest import SENTENCES, Cluster
from freediv.cluster.configuration import read_owner_config
from freediv.errors import UserError
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import load, load_offer, prepare_offer
from freediv.wire import protocol_pb2 as pb
from tokenizers import Tokenizer

Load = Callable[..., None]


@pytest.fixture
def load_bundle(cluster: Cluster, tiny_model: Path) -> Iterator[Load]:
    """Loads the tiny model with other fields in its public bundle, past what the owner's own tools refuse."""

    def load_it(**fields: Any) -> None:
        offer = prepare_offer(tiny_model)
        content = pb.Bundle.FromString(offer.bundle)
        for name, value in fields.items():
            setattr(content, name, value)
        other = replace(offer, bundle=content.SerializeToString(deterministic=True))
        asyncio.run(load_offer(read_owner_config(cluster.folder("model-owner")), other))

    yield load_it
    load(cluster.folder("model-owner"), tiny_model)


def test_a_tokenizer_that_signals_gets_no_text(cluster: Cluster, tiny_model: Path, load_bundle: Load) -> None:
    """A word repeated twenty times in a normalizer moves its texts into another bucket: known normalizers only."""
    content = json.loads((tiny_model / "tokenizer.json").read_text())
    repeated = {"type": "Replace", "pattern": {"String": "honest"}, "content": "honest " * 20}
    load_bundle(tokenizer=json.dumps(content | {"normalizer": repeated}))
    with pytest.raises(UserError, match=r"tokenizer that is refused: normalizer.*tell the model owner") as refused:
        infer(cluster.folder("data-owner-alice"), [SENTENCES[4]])
    assert "honest" not in str(refused.value)


LETTERS = "abcdefghijklmnopqrstuvwxyz "
ALL_BUT_DIGITS = ["[UNK]", *LETTERS, *(f"##{one}" for one in LETTERS)]
SHORT_FIRST = [[one, -1.0] for one in ("▁", *LETTERS)] + [[f"▁{one}", -9.0] for one in ("film", "story", "music")]
ONE_UNKNOWN = {
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 1000,
        "vocab": {piece: number for number, piece in enumerate(ALL_BUT_DIGITS)},
    },
    "pre_tokenizer": None,
}
ONE_SCORE = {
    "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["#", 0.0], *SHORT_FIRST, ["5", 1e20]]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False},
}


@pytest.mark.parametrize("signalling", [ONE_UNKNOWN, ONE_SCORE], ids=["wordpiece", "unigram"])
def test_a_tokenizer_of_which_one_word_decides_on_all_pieces_gets_no_text(
    cluster: Cluster, tiny_model: Path, load_bundle: Load, signalling: dict[str, Any]
) -> None:
    """One character that makes one piece of a whole text, one score that makes ties of all others: words one by one."""
    content = json.loads((tiny_model / "tokenizer.json").read_text()) | {"post_processor": None, "added_tokens": []}
    described, text = json.dumps(content | signalling), "film story music film story music"
    plain, signed = (len(one.ids) for one in Tokenizer.from_str(described).encode_batch([text, f"5 {text}"]))
    assert plain > 32 and signed < 14
    load_bundle(tokenizer=described)
    with pytest.raises(UserError, match=r"does not cut texts at spaces.*tell the model owner"):
        infer(cluster.folder("data-owner-alice"), [text])
