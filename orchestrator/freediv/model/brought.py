"""What models can be brought: a table made of the registries, for help and for pages."""

from __future__ import annotations

from .answers import ANSWERS
from .families import FAMILIES


def what_can_be_brought() -> list[tuple[str, str]]:
    """Rows: the families by their model types, and for each kind of answer how a checkpoint names it."""
    rows = [("families (`model_type`)", ", ".join(sorted(FAMILIES)))]
    for answer in ANSWERS.values():
        problem = f", {answer.problem_type}" if answer.problem_type is not None else ""
        rows.append((f"`{answer.name}`: {answer.words.kind}", f"...{answer.ending}{problem}"))
    return rows
