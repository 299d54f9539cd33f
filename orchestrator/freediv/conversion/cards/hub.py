"""What a hub reads of a model's card: the front matter of its README.md, in the hub's own terms.

Keys, and the results in `model-index`, are those of huggingface.co/docs/hub/model-cards (their specification is
modelcard.md in the repository huggingface/hub-docs), as `huggingface_hub` writes and reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.repocard_data import EvalResult, ModelCardData

_METRICS = {
    "accuracy": "accuracy", "micro F1": "f1", "macro F1": "f1", "entity F1": "seqeval", "Spearman": "spearmanr",
    "Pearson": "pearsonr",
}  # fmt: skip
"""Measures that have a page at huggingface.co/metrics, and its name."""
_HELD_OUT = "held out"


def front_matter(name: str, task: str, card: Mapping[str, Any], base: str | None = None) -> dict[str, Any]:
    """What a hub filters and shows a model by.

    Args:
        name: of the model.
        task: the hub's name of what it does, such as `text-classification`.
        card: what its card says to programs; of its accuracies the model's own are results.
        base: the model on the hub that it was made from.
    """
    results = list(_results(task, card))
    known = [one.metric_type for one in results if one.metric_type in _METRICS.values()]
    found = ModelCardData(
        library_name="freediv",
        pipeline_tag=task,
        base_model=base,
        metrics=list(dict.fromkeys(known)) or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return dict(found.to_dict())  # type: ignore[no-untyped-call]


def _results(task: str, card: Mapping[str, Any]) -> Iterator[EvalResult]:
    for data, measured in card["accuracy"].items():
        source = card.get("data", {}).get(data, data)
        for measure, value in measured.get("student", measured).items():
            if isinstance(value, float):  # what else is there are counts, intervals and lengths
                yield EvalResult(
                    task_type=task,
                    task_name=task.replace("-", " ").title(),
                    dataset_type=Path(source).stem,
                    dataset_name=f"{source}, rows kept out of the training" if data == _HELD_OUT else source,
                    metric_type=_METRICS.get(measure, measure.lower().replace(" ", "_")),
                    metric_name=measure[:1].upper() + measure[1:],
                    metric_value=value,
                )
