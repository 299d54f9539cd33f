"""Who learns what, in the words of every page that says it; docs/threat-model.md has what each line rests on."""

from __future__ import annotations

from dataclasses import dataclass

from ..model import Architecture

WHAT = ("the model's weights", "the text", "the prediction", "sizes and timing")
NOTHING = "nothing"
INDEPENDENT = (
    "It is worth as much as the parties are independent: each belongs on a host of its own, run by someone else."
)


@dataclass(frozen=True)
class Learner:
    """What somebody learns, in the order of `WHAT`."""

    who: str
    learns: tuple[str, str, str, str]


def who_learns(protocol: str, given: str) -> tuple[Learner, ...]:
    """Everybody, where a data owner is `given` that much of an answer."""
    together = "Two parties together" if protocol == "ABY3" else "All parties together"
    return (
        Learner("Data owner", ("nothing beyond the answers", "their own", given, "yes")),
        Learner("Model owner", ("their own", NOTHING, NOTHING, NOTHING)),
        Learner("One party", (NOTHING, NOTHING, NOTHING, "yes")),
        Learner(together, ("everything", "everything", "everything", "yes")),
        Learner("Someone on the network", (NOTHING, NOTHING, NOTHING, "yes")),
    )


def sizes_and_timing(architecture: Architecture) -> str:
    """What is meant by them."""
    table = " and its published word table" if architecture.embedding == "public" else ""
    what = "sentences, the length that they were padded to" if architecture.padded else "images"
    return (
        f"Sizes and timing are: how many {what}, the model's architecture{table}, and when and how long the parties "
        "computed."
    )


def holds_while(protocol: str) -> str:
    """What all of it takes for granted."""
    together = "no two of them" if protocol == "ABY3" else "not all of them"
    return (
        f"This holds while parties follow the protocol (semi-honest security) and {together} pool what they hold; it "
        "does not detect a party that computes something else."
    )
