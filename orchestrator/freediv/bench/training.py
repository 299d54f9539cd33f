"""What a step of a training takes, by the layers that it trains: memory and operations as XLA counts them in the
compiled step, which no other process on the machine changes, and seconds, which others do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from rich.table import Table

from ..conversion.finetuning import answer_loss
from ..conversion.texts.batches import plan_batches
from ..conversion.training.blocks import dropping_tokens, require_layers, trains
from ..conversion.training.loop import first_step
from ..conversion.training.phase import Epoch, Phase, Schedule
from ..model import Model, Precision, read_pretrained
from ..progress import Meter

_DROPOUT = 0.1


@dataclass(frozen=True)
class StepCost:
    """One step of fine-tuning.

    Attributes:
        blocks: layers that are trained; none: all, and the embedding.
        dropped: layers whose attention leaves tokens out.
        trained: numbers that are trained.
        state_bytes: of all parameters, the moments of those that are trained, and the batch.
        temporary_bytes: of what the step keeps between: activations above all, and gradients.
        operations: of floating-point numbers.
        seconds: the fastest of those that were run.
    """

    blocks: tuple[int, ...]
    dropped: tuple[int, ...]
    trained: int
    state_bytes: int
    temporary_bytes: int
    operations: float
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """Batches of `tokens` word pieces, in rows of `length`; images have lengths of their own. With `drop_tokens`, every
    choice of layers is tried with and without these layers leaving tokens out.
    """

    length: int
    tokens: int
    repeats: int
    precision: Precision
    drop_tokens: tuple[int, ...] = ()
    keep_tokens: float = 0.5


def measure_steps(pretrained: Path, choices: Sequence[tuple[int, ...]], setting: Setting) -> Iterator[StepCost]:
    """Of every choice of layers, what a step costs.

    Raises:
        UserError: the model cannot be read, or does not have such layers.
    """
    model = read_pretrained(pretrained, ("no", "yes"), 0)
    for blocks in choices:
        require_layers(blocks, model.architecture.layers, "--blocks")
    models: dict[tuple[int, ...], Model] = {(): model}
    if setting.drop_tokens:
        models[setting.drop_tokens] = dropping_tokens(model, setting.drop_tokens, setting.keep_tokens)
    tried = [(blocks, dropped) for dropped in models for blocks in choices]
    with Meter("steps", len(tried)) as meter:
        for number, (blocks, dropped) in enumerate(tried, start=1):
            yield _measured(models[dropped], blocks, dropped, setting)
            meter.update(number)


def _measured(model: Model, blocks: tuple[int, ...], dropped: tuple[int, ...], setting: Setting) -> StepCost:
    phase = Phase(
        "step",
        answer_loss(model.architecture, _DROPOUT, guided=False),
        (_batch(model, setting),),
        Schedule(1e-5),
        model.architecture.pad_token,
        seed=0,
        rate=lambda stage, _: float(trains(blocks, stage)),
        precision=setting.precision,
    )
    step, (parameters, moments, *given) = first_step(phase, model.parameters)
    memory, counted = step.memory_analysis(), step.cost_analysis()
    counted = counted[0] if isinstance(counted, list) else counted  # as older versions of jax have it
    trained, seconds = sum(leaf.size for leaf in jax.tree.leaves(parameters)), []
    for _ in range(setting.repeats):
        begun = time.perf_counter()
        parameters, moments, loss = step(parameters, moments, *given)
        float(loss)  # waits for it
        seconds.append(time.perf_counter() - begun)
    bytes_of = (memory.argument_size_in_bytes, memory.temp_size_in_bytes)
    return StepCost(blocks, dropped, trained, *bytes_of, float(counted["flops"]), min(seconds))


def _batch(model: Model, setting: Setting) -> Epoch:
    """Random inputs, all as long; their values change no cost."""
    a, rng = model.architecture, np.random.default_rng(0)
    length = setting.length if a.padded else a.positions
    count = max(1, setting.tokens // length)
    if a.padded:
        rows = [*rng.integers(a.vocabulary, size=(count, length)).astype(np.int32)]
    else:
        rows = [*rng.uniform(-1, 1, (count, length, a.embedding_size)).astype(np.float32)]
    plan = plan_batches([length] * count, tokens_per_batch=setting.tokens, pad_to=np.array([length]))
    return Epoch(rows, np.zeros(count, np.int32), plan)


def table_of(found: Sequence[StepCost], title: str) -> Table:
    """Steps side by side, with how many times less than the first each takes."""
    table = Table("layers trained", title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("numbers trained", "activations, MB", "parameters and moments, MB", "GFLOP", "seconds"):
        table.add_column(name, justify="right")
    first = found[0]
    for one in found:

        def beside(of: float, value: float, form: str, first: StepCost = first, one: StepCost = one) -> str:
            return format(value, form) + ("" if one is first else f" (1 / {of / value:.2f})")

        table.add_row(
            (", ".join(map(str, one.blocks)) or "all") + (", fewer tokens" if one.dropped else ""),
            f"{one.trained:,}",
            beside(first.temporary_bytes / 1e6, one.temporary_bytes / 1e6, ".1f"),
            beside(first.state_bytes / 1e6, one.state_bytes / 1e6, ".1f"),
            beside(first.operations / 1e9, one.operations / 1e9, ".2f"),
            beside(first.seconds, one.seconds, ".2f"),
        )
    return table
