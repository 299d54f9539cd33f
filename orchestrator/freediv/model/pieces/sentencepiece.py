"""SentencePiece: a model of its own format, Unigram or BPE (Kudo and Richardson 2018), as transformers has it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ...errors import UserError
from ..file_content import require_content
from .kind import Description, Settings, TokenizerKind

Steps = Sequence[Description]
_GAP = "▁"
_UNIGRAM, _BPE = 1, 2
_CONTROL, _USER_DEFINED = 3, 4
_MOST_BYTES, _MOST_CHARACTERS = 1 << 26, 1 << 24
"""Of a file, and of all pieces whose merges are made."""


def replace(found: str, content: str) -> Description:
    """A step that replaces what a regular expression finds."""
    return {"type": "Replace", "pattern": {"Regex": found}, "content": content}


def _usual_steps(charsmap: Steps, settings: Settings) -> Steps:
    return [*charsmap, {"type": "Strip", "strip_left": False, "strip_right": True}, replace(" {2,}", _GAP)]


@dataclass(frozen=True, kw_only=True)
class SentencePiece(TokenizerKind):
    """Its families number pieces otherwise than the model does.

    Attributes:
        file: the usual name of the model.
        first: pieces and scores that stand before all others.
        replaced: how many of the model's own these take the place of.
        last: pieces that follow.
        unknown: the number of the piece for unknown ones; None: the model's own.
        steps: its normalizer's, of the model's own table (one step, or none) and tokenizer_config.json's settings.
        score: of a piece, of the model's.
    """

    file: str
    first: Sequence[tuple[str, float]] = ()
    replaced: int = 0
    last: Sequence[str] = ()
    unknown: int | None = None
    steps: Callable[[Steps, Settings], Steps] = _usual_steps
    score: Callable[[str, float], float] = lambda piece, score: score

    sources = "a SentencePiece model"

    def made(self, directory: Path, settings: Settings) -> Description | None:
        path = directory / self.file
        if not path.is_file():
            return None
        model = _read(path)
        trainer, own = model.trainer_spec, list(model.pieces)[self.replaced :]
        pieces = [*self.first, *((one.piece, self.score(one.piece, one.score)) for one in own)]
        pieces += [(piece, 0.0) for piece in self.last]
        numbers = {piece: number for number, (piece, _) in enumerate(pieces)}
        if len(numbers) < len(pieces):
            raise UserError(f"{path}: two pieces are the same")
        found: Description
        if trainer.model_type == _UNIGRAM:
            unknown = trainer.unk_id if self.unknown is None else self.unknown
            found = {"type": "Unigram", "unk_id": unknown, "vocab": [list(one) for one in pieces]}
        elif trainer.model_type == _BPE:
            found = {"type": "BPE", "vocab": numbers, "fuse_unk": True, "unk_token": trainer.unk_piece}
            found["merges"] = list(_merges(pieces, numbers, path))
        else:
            raise UserError(f"{path}: is neither a Unigram model nor BPE, which are what freediv reads")
        table = base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()
        charsmap = [{"type": "Precompiled", "precompiled_charsmap": table}] if table else []
        added: dict[str, Description] = {
            one.piece: {"special": one.type == _CONTROL} for one in own if one.type in (_CONTROL, _USER_DEFINED)
        }
        normalizer = {"type": "Sequence", "normalizers": list(self.steps(charsmap, settings))}
        splitter = {"type": "Metaspace", "replacement": _GAP, "prepend_scheme": "always", "split": True}
        return self.described(
            directory, settings, numbers, added, normalizer=normalizer, pre_tokenizer=splitter, model=found
        )


def _merges(pieces: Sequence[tuple[str, float]], numbers: Mapping[str, int], path: Path) -> Iterator[list[str]]:
    """All pairs of pieces that make up a third, that of the best score first."""
    if sum(len(piece) for piece, _ in pieces) > _MOST_CHARACTERS or max(len(piece) for piece, _ in pieces) > 256:
        raise UserError(f"{path}: has more characters than any tokenizer")
    found = []
    for piece, score in pieces:
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        pairs = sorted((numbers[one], numbers[other], one, other) for one, other in halves
                       if one in numbers and other in numbers)  # fmt: skip
        found += [(score, one, other) for _, _, one, other in pairs]
    found.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return ([one, other] for _, one, other in found)


def _read(path: Path) -> Any:
    try:
        require_content(path)
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"has more than {_MOST_BYTES:,} bytes")
        model = _message().FromString(content)
    except (OSError, ValueError, DecodeError) as error:
        raise UserError(f"{path}: cannot be read as a SentencePiece model ({error})") from None
    if not model.pieces:
        raise UserError(f"{path}: cannot be read as a SentencePiece model (it has no pieces)")
    return model


@lru_cache(maxsize=1)
def _message() -> Any:
    """What is read of SentencePiece's sentencepiece_model.proto."""
    types = descriptor_pb2.FieldDescriptorProto
    text, number, table = types.TYPE_STRING, types.TYPE_INT32, types.TYPE_BYTES
    fields = {
        "Piece": (("piece", 1, text), ("score", 2, types.TYPE_FLOAT), ("type", 3, number)),
        "Trainer": (("model_type", 3, number), ("unk_id", 40, number), ("unk_piece", 45, text)),
        "Normalizer": (("precompiled_charsmap", 2, table),),
    }
    file = descriptor_pb2.FileDescriptorProto(name="freediv/sentencepiece.proto", package="freediv", syntax="proto2")
    for name, own in fields.items():
        message = file.message_type.add(name=name)
        for field, place, kind in own:
            message.field.add(name=field, number=place, type=kind, label=types.LABEL_OPTIONAL)
    whole = file.message_type.add(name="Model")
    for place, (field, name) in enumerate(
        (("pieces", "Piece"), ("trainer_spec", "Trainer"), ("normalizer_spec", "Normalizer")), 1
    ):
        label = types.LABEL_REPEATED if name == "Piece" else types.LABEL_OPTIONAL
        whole.field.add(name=field, number=place, type=types.TYPE_MESSAGE, type_name=f".freediv.{name}", label=label)
    for field, start in (("model_type", 1), ("unk_id", 0), ("unk_piece", "<unk>")):
        next(one for one in file.message_type[1].field if one.name == field).default_value = str(start)
    file.message_type[0].field[2].default_value = "1"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("freediv.Model"))
