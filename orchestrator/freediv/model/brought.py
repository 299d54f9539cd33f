"""What models can be brought: a table made of the registries, for help and for pages."""

from __future__ import annotations

from .answers import ANSWERS, LABEL
from .families import FAMILIES


def what_can_be_brought() -> list[tuple[str, str]]:
    """Rows: the families by their model types, and for each kind of answer how a checkpoint names it."""
    texts, images = (sorted(n for n, f in FAMILIES.items() if f.reads_images == read) for read in (False, True))
    ending = FAMILIES[images[0]].endings[LABEL.ending][0]
    of_images = f"images: {', '.join(images)} (...{ending})"
    rows = [("families (`model_type`)", f"{', '.join(texts)}; {of_images}")]
    for answer in ANSWERS.values():
        problem = f", {answer.problem_type}" if answer.problem_type is not None else ""
        rows.append((f"`{answer.name}`: {answer.words.kind}", f"...{answer.ending}{problem}"))
    return rows
