"""`freediv finetune` and `convert`: making a model."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from .options.brought import TakesModels
from .options.budgets import choose_by, measured
from .options.columns import columns

if TYPE_CHECKING:
    from ..conversion.student.budget import Criterion
    from ..model import Precision

_PATH = click.Path(path_type=Path)
_OUT = click.Path(path_type=Path, resolve_path=True)  # `.` has no name
_SEEDS = click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True,
    help="Train so often, from this seed on; the best on held-out rows is kept, the card has all.",
)  # fmt: skip
_BLOCKS = click.option(
    "--blocks", metavar="LAYERS", help="Train these layers alone (from 0, such as 3-5 or 1,3,5), and what answers: in "
    "less memory and time.  [default: all, and the embedding; convert: the recipe's]",
)  # fmt: skip
_WHOLE_ROWS = click.option(
    "--whole-rows", is_flag=True, help="Train on rows alone that are part of no other: for a short second training "
    "where a file has the phrases of its sentences as rows, too.",
)  # fmt: skip


def _resolved(model: Path | None) -> Path | None:
    """The directory of a model that may have been left out."""
    from ..model import resolve_model

    return None if model is None else resolve_model(model)


def _command_line() -> str:
    return _in_unicode(shlex.join(["freediv", *sys.argv[1:]]))


def _in_unicode(text: str) -> str:
    """As a card can hold it: a file's name may be in no encoding at all."""
    return text.encode(errors="backslashreplace").decode()


@click.command(cls=TakesModels)
@click.argument("pretrained", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="Labelled texts: .tsv, .csv or .jsonl with named columns.")
@click.option("--dev", type=_PATH, help="Labelled sentences to measure the teacher on, once, at the end.")
@click.option("-o", "--out", type=_OUT, required=True, help="Directory to write; must not be there yet.")
@columns
@click.option("--label-names", help="Names of labels 0, 1, ..., with commas between them.  [default: as in the data]")
@click.option(
    "--answer",
    default="label",
    show_default=True,
    help="What it answers: one label out of several; any labels (lists, or commas between them); a score "
    "(numbers); pieces: a label for each word (lists, or spaces between); a vector, which a --guide tells.",
)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Times that it sees the data.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=5e-5,
    show_default=True,
    help="Of AdamW at its peak: linear warm-up, then linear decay to 0.",
)
@click.option(
    "--tokens-per-batch", type=click.IntRange(8), default=1024, show_default=True, help="Word pieces of a batch."
)
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Batches whose gradients make one step: for large steps in little memory.",
)
@click.option(
    "--guide",
    type=_PATH,
    metavar="DIR",
    help="A larger classifier of the same labels: its probabilities are learned in place of the labels.",
)
@click.option(
    "--long-share",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    help="Share of word pieces from rows strung together, up to the longest; --guide tells what they say.",
)
@click.option(
    "--longest", type=click.IntRange(8), default=128, show_default=True, help="Cut texts there, in word pieces."
)
@click.option(
    "--dropout",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of activations and attention weights dropped.",
)
@click.option("--freeze-embeddings", is_flag=True, help="Keep the word table as it was published.")
@_WHOLE_ROWS
@_BLOCKS
@click.option(
    "--drop-tokens",
    metavar="LAYERS",
    help="Of images: after these layers' attention leave out what the class token sees least of. In plaintext alone.",
)
@click.option(
    "--keep-tokens",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Of --drop-tokens: share of patches that stay, each time.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the operands of products; bfloat16 for devices that have units for it.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Epochs without a lower loss on held-out rows that end the training, whose best is kept. Of use where "
    "--epochs are many, as the learning rate falls to 0 over all of them.  0: all epochs, and the last.",
)
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 0.5),
    default=0.02,
    show_default=True,
    help="Share to measure on; a row that is part of another stays with it.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is random but the rows held out."
)
@_SEEDS
@click.option("--run", type=_PATH, help="Directory of checkpoints.  [default: OUT.run, removed when done]")
@click.option("--note", default="", help="A sentence for the model card, such as where the weights and data come from.")
def finetune(
    pretrained: Path,
    data: Path,
    dev: Path | None,
    out: Path,
    text_columns: tuple[str, ...],
    image_column: str,
    label_column: str,
    label_names: str | None,
    run: Path | None,
    note: str,
    guide: Path | None,
    answer: str,
    blocks: str | None,
    drop_tokens: str | None,
    **settings: Any,
) -> None:
    """Train a teacher: a pretrained encoder and labelled sentences in, a model that answers and its card out.

    PRETRAINED is a Hugging Face directory of one of the families below, or `hub:owner/name`, fetched where a hub can be
    reached. Of images, --data is a folder with a folder for each class, or a table of files. A teacher that was made
    here, for the same labels, goes on with what answers them. A run that was interrupted goes on from its last
    checkpoint when the same command is given again.

    \b
    Examples:
      freediv finetune all-MiniLM-L6-v2 --data train.tsv --label-names negative,positive -o teacher
      freediv finetune all-MiniLM-L6-v2 --data pairs.csv --text-column question --text-column answer -o teacher
      freediv finetune teacher --data train.tsv --whole-rows --epochs 1 --learning-rate 1.5e-5 -o better
      freediv finetune deit-small --data scans --blocks 6-11 -o teacher
      freediv finetune all-MiniLM-L6-v2 --data train.tsv --guide mpnet-teacher --long-share 0.15 -o teacher
      freediv finetune all-MiniLM-L6-v2 --data names.jsonl --text-column tokens --label-column tags --answer pieces \
        -o teacher
    """
    from ..conversion.compiled import keep_compiled
    from ..conversion.finetuning import FinetuneSettings
    from ..conversion.finetuning import finetune as train_teacher
    from ..conversion.making import Making
    from ..conversion.texts.examples import read_examples
    from ..conversion.training.blocks import read_blocks
    from ..model import resolve_model
    from ..model.answers import ANSWERS
    from ..model.checkpoints.hub import repository_of
    from ..model.reading import reads_images

    keep_compiled()
    if answer not in ANSWERS:
        raise UserError(f"--answer {answer}: there is no such kind of answer; known: {', '.join(ANSWERS)}")
    settings["blocks"] = () if blocks is None else read_blocks(blocks)
    settings["drop_tokens"] = () if drop_tokens is None else read_blocks(drop_tokens, "--drop-tokens")
    target = ANSWERS[answer].target
    names = tuple(name.strip() for name in label_names.split(",")) if label_names else None
    directory = resolve_model(pretrained)
    read = partial(
        read_examples, text_columns=text_columns, label_column=label_column, target=target,
        image_column=image_column if reads_images(directory) else None,
    )  # fmt: skip
    examples = read(data, label_names=names)
    dev_examples = None
    if dev is not None:
        dev_examples = read(dev, label_names=examples.label_names, numbered=names is not None)
    base = repository_of(str(pretrained))
    making = Making(examples, dev_examples, out, _command_line(), _in_unicode(note), run, _resolved(guide), base)
    made = train_teacher(directory, FinetuneSettings(answer=answer, **settings), making)
    for name, data_set in (("held-out rows", "held out"), ("dev", "dev")):
        if evaluation := made.accuracy[data_set]["teacher"]:
            click.echo(f"{evaluation.overall.measure} on {name}: {evaluation.overall}")
    click.echo(f"wrote {out}")


@click.command(cls=TakesModels)
@click.argument("teacher", type=_PATH)
@click.option("--recipe", type=_PATH, required=True, help="YAML; see configs/recipes/.")
@click.option("--data", type=_PATH, required=True, help="Sentences to distil on; labels are not needed.")
@click.option("--dev", type=_PATH, help="Labelled sentences to measure teacher and student on, once, at the end.")
@click.option("-o", "--out", type=_OUT, required=True, help="Directory to write; must not be there yet.")
@columns
@click.option("--run", type=_PATH, help="Directory of checkpoints.  [default: OUT.run, removed when done]")
@click.option("--note", default="", help="A sentence for the model card, such as where the weights and data come from.")
@_SEEDS
@click.option(
    "--published",
    type=_PATH,
    metavar="DIR",
    help="The published model that the teacher was made from. Its word table is kept as it is there, and public, "
    "which is cheaper. Without it the table is secret, and whole unless the recipe cuts it.",
)
@click.option(
    "--start",
    type=_PATH,
    metavar="DIR",
    help="A student of the same teacher and functions to go on from, in place of stage 1; norms may lose their roots.",
)
@click.option(
    "--guide",
    type=_PATH,
    metavar="DIR",
    help="A larger classifier of the same labels, such as the teacher's own guide: the last stage learns its "
    "probabilities in place of the teacher's.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    help="Of the operands of products; bfloat16 for devices that have units for it.  [default: the recipe's]",
)
@_WHOLE_ROWS
@_BLOCKS
@click.option(
    "--longer",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Times the epochs of every stage: recipes are made for two cores.",
)
@click.option(
    "--tokens-per-batch",
    type=click.IntRange(8),
    help="Word pieces of a batch: more for an accelerator. Learning rates go with the square root.  "
    "[default: the recipe's]",
)
@click.option("--allow-overflow", is_flag=True, help="Write a student even if its values could wrap around.")
@click.option(
    "--budget",
    metavar="'N MB|messages|seconds'",
    help="Of one party in all layers, in a request of 32 word pieces: layers have what loses least within it, in place "
    "of the recipe's functions and sizes. What was chosen is a recipe beside the student, OUT.yaml.",
)
@choose_by
@measured
def convert(
    teacher: Path,
    recipe: Path,
    data: Path,
    dev: Path | None,
    out: Path,
    text_columns: tuple[str, ...],
    image_column: str,
    label_column: str,
    run: Path | None,
    note: str,
    seeds: int,
    published: Path | None,
    start: Path | None,
    guide: Path | None,
    precision: Precision | None,
    whole_rows: bool,
    blocks: str | None,
    longer: float,
    tokens_per_batch: int | None,
    allow_overflow: bool,
    budget: str | None,
    criterion: Criterion,
    measured: Path | None,
) -> None:
    """Convert a teacher into a student that MPC runs cheaply: replace, calibrate, distil, measure.

    TEACHER is a Hugging Face directory of a fine-tuned model, of one of the families below. A conversion that was
    interrupted goes on from its last checkpoint when the same command is given again.

    \b
    Examples:
      freediv convert teacher --recipe configs/recipes/2quad-freediv.yaml --data train.tsv --dev dev.tsv -o student
      freediv convert teacher --recipe configs/recipes/2quad-freediv.yaml --data train.tsv --dev dev.tsv \
        --published all-MiniLM-L6-v2 -o student
      freediv convert teacher --recipe configs/recipes/2quad-freediv.yaml --data train.tsv --budget "20 MB" -o student
      freediv convert teacher --recipe configs/recipes/2quad-freediv.yaml --data train.tsv --start student \
        --whole-rows -o better
    """
    from ..conversion.compiled import keep_compiled
    from ..conversion.converting import Conversion
    from ..conversion.converting import convert as make_student
    from ..conversion.making import Making
    from ..conversion.student.recipe import read_recipe
    from ..conversion.texts.examples import read_examples
    from ..conversion.training.blocks import read_blocks
    from ..model import read_model, resolve_model
    from ..model.answers import WITHOUT_ANSWER, answer_of
    from ..model.checkpoints.hub import repository_of

    keep_compiled()
    if budget is None and measured is not None:
        raise UserError("--measured belongs to --budget; add it")
    directory, chosen = resolve_model(teacher), read_recipe(recipe)
    architecture = read_model(directory).architecture
    read = partial(
        read_examples, text_columns=text_columns, label_column=label_column, label_names=architecture.label_names,
        target=answer_of(architecture).target, image_column=None if architecture.padded else image_column,
    )  # fmt: skip
    examples = read(data, labelled=None)
    dev_examples = read(dev) if dev is not None else None
    if budget is not None:
        from ..bench.choices import chosen_within
        from ..conversion.student.budget import Budget

        chosen = chosen_within(Budget.of(budget), criterion, directory, examples, chosen, out, measured)
    chosen = chosen.scaled(longer, tokens_per_batch)
    if precision is not None:
        chosen = chosen.model_copy(update={"precision": precision})
    if blocks is not None:
        chosen = chosen.model_copy(update={"blocks": read_blocks(blocks)})
    if whole_rows:
        chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"whole_rows": True})})
    base = repository_of(str(published or teacher))
    made = make_student(
        Conversion(directory, chosen, _resolved(published), _resolved(start), seeds, allow_overflow),
        Making(examples, dev_examples, out, _command_line(), _in_unicode(note), run, _resolved(guide), base),
    )
    for name in ("teacher", "student"):
        if evaluation := made.accuracy.get("dev", {}).get(name):
            overall = evaluation.overall
            measure = "" if overall.correct is not None else f"{overall.measure} "
            click.echo(f"{name} on dev: {measure}{overall}")
    headroom = made.attempt.headroom
    assert headroom is not None
    click.echo(f"headroom: {headroom.bits:.1f} bits")
    if headroom.without_answer:
        click.echo(f"{WITHOUT_ANSWER}: {headroom.without_answer} of {headroom.count} sequences, many of them random")
    click.echo(f"wrote {out}")
