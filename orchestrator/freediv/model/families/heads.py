"""What a checkpoint's model answers, as its configuration tells; and which family it is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..answers import ANSWERS, LABEL, SCORE, VECTOR, Answer
from . import FAMILIES, Family

_OTHERS = {
    "ForQuestionAnswering": "a span of the text",
    "ForMultipleChoice": "a choice between texts",
    "ForMaskedLM": "words for the masked ones",
    "ForMaskedImageModeling": "pixels for the masked ones",
    "ForPreTraining": "words for the masked ones",
    "ForNextSentencePrediction": "whether a text follows another",
    "LMHeadModel": "the next word",
    "regression": "several scores",
}


def family_of(config: Mapping[str, Any], where: Path) -> Family:
    """The family of a checkpoint's configuration; `where` it stands.

    Raises:
        UserError: another `model_type`, or one whose layers are not those of an encoder.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        known = ", ".join(repr(name) for name in FAMILIES)
        raise UserError(f"{where}: model_type is {name!r}; freediv reads {known}")
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key):
            raise UserError(f"{where}: {key} is {config[key]!r}: a decoder; freediv reads encoders")
    kind = FAMILIES[name]
    for key, needed in kind.refuses.items():
        if config.get(key, needed) != needed:
            raise UserError(f"{where}: {key} is {config[key]!r}; freediv reads {needed!r} alone")
    return kind


def head_of(config: Mapping[str, Any], where: Path, *, pooled: bool = False) -> Answer:
    """What the model of a configuration answers; `where` it stands.

    Without a `problem_type`, one label is a score and several exclude each other, as transformers has it.

    Args:
        config: of a checkpoint.
        where: it stands.
        pooled: sentence-transformers' files say how its rows become vectors: then those are its answer, whatever its
            class adds to the encoder.

    Raises:
        UserError: something that is not among `ANSWERS`, or not told.
    """
    kind, takes = family_of(config, where), _takes(config)
    if pooled:
        return VECTOR
    classes = config.get("architectures")
    if not classes:
        raise UserError(f"{where}: architectures is missing, which says what the model answers; {takes}")
    found = [one for one in _answers(kind) if classes in [[name] for name in kind.classes_of(one.ending)]]
    if not found:
        named = classes[0] if isinstance(classes, list) and len(classes) == 1 else classes
        answer = _OTHERS.get(named.removeprefix(kind.prefix)) if isinstance(named, str) else None
        told = "" if isinstance(classes, list) else "architectures is no list: "
        raise UserError(f"{where}: {told}the model is {named}{_in_words(answer)}; {takes}")
    problem, count = _problem(config)
    for one in found:
        if one.problem_type in (None, problem) and (problem != SCORE.problem_type or count == 1):
            return one
    told = f"problem_type is {problem!r}" + (f" with {count} labels" if problem == SCORE.problem_type else "")
    answer = _OTHERS.get(problem) if isinstance(problem, str) else None
    raise UserError(f"{where}: {told}{_in_words(answer)}; {takes}")


def _problem(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """What the logits stand for, and how many there are. One that excludes no other is a score."""
    problem, labels = config.get("problem_type"), config.get("id2label")
    count = len(labels) if isinstance(labels, dict) and labels else config.get("num_labels", 2)
    if problem is None or (count == 1 and problem == LABEL.problem_type):
        problem = SCORE.problem_type if count == 1 else LABEL.problem_type
    return problem, count


def _takes(config: Mapping[str, Any]) -> str:
    """What freediv takes of this family, in words."""
    family = FAMILIES[config["model_type"]]
    kinds: dict[str, list[str]] = {}
    for one in _answers(family):
        kinds.setdefault(one.ending, []).append(one.words.kind)
    named = (f"{' or '.join(family.classes_of(ending))} ({' or '.join(own)})" for ending, own in kinds.items())
    return f"freediv takes {', '.join(named)}"


def _answers(family: Family) -> list[Answer]:
    """Those that its models may have: an image has no pieces of which anybody asks."""
    return [one for one in ANSWERS.values() if not (family.reads_images and one.each_piece)]


def _in_words(answer: str | None) -> str:
    return "" if answer is None else f", which answers {answer}"
