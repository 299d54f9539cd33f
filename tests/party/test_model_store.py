"""What a party keeps beside the shares of its models."""

from __future__ import annotations

import json
from pathlib import Path

from freediv.cluster.configuration import Limits
from freediv.party.models.model_store import ModelStore
from freediv.party.models.unfinished_uploads import UnfinishedUploads
from freediv.wire import protocol_pb2 as pb


def put(store: ModelStore, folder: Path, model_id: str, **public: object) -> str:
    """A model with this bundle; its public digest."""
    bundle = pb.Bundle(**{"architecture": "{}", "tokenizer": "t", "word_table": b"w", "certificate": "c"} | public)
    uploads = UnfinishedUploads(folder, Limits())
    uploads.begin(model_id, "its owner", bundle.SerializeToString())
    uploads.finish(model_id, store.directory(model_id))
    return store.public_digest(model_id)


def test_models_are_alike_whatever_their_certificates_and_differ_in_all_else_that_is_public(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    changes = [
        {},
        {"architecture": "{} "},
        {"tokenizer": "u"},
        {"word_table": b""},
        {"tokenizer": "tw", "word_table": b""},
    ]
    digests = [put(store, tmp_path, f"{number:032x}", **change) for number, change in enumerate(changes)]
    assert len(set(digests)) == len(changes)
    assert put(store, tmp_path, "f" * 32, certificate="another") == digests[0]


def test_counts_of_before_they_were_kept_by_what_is_public_go_on(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    digest = put(store, tmp_path, "0" * 32)
    put(store, tmp_path, "1" * 32)
    for number, spent in enumerate(({"data-owner/alice": 3, "data-owner": 1}, {"data-owner/alice": 4})):
        (store.directory(f"{number}" * 32) / "spent.json").write_text(json.dumps(spent))
    for _ in range(2):  # once, however often it is opened
        assert ModelStore(tmp_path).spent(digest) == {"data-owner/alice": 7, "data-owner": 1}
