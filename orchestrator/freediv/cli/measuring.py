"""`freediv predict`, `evaluate` and `headroom`: what a model says, and measuring it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from .options.columns import columns, text_columns
from .options.texts import texts_given, texts_to_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..conversion.measures.evaluation import Evaluation
    from ..conversion.measures.predicting import Plaintext
    from ..conversion.texts.examples import Examples
    from ..deploy.private_evaluation import PrivateEvaluation
    from ..model import Architecture, Model

_PATH = click.Path(path_type=Path)
_COLUMNS = 8
"""Most labels whose scores a table shows."""


@click.command()
@click.argument("model", metavar="MODEL")
@texts_to_read
@click.option("--longest", type=int, help="Cut all texts at so many word pieces.")
@click.option("--pieces", is_flag=True, help="Print the word pieces of each text, too; in JSON with their numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list with an object for each text.")
def predict(
    model: str,
    texts: tuple[str, ...],
    images: tuple[Path, ...],
    pairs: tuple[tuple[str, str], ...],
    file: Path | None,
    text_columns: tuple[str, ...],
    truncate: bool,
    longest: int | None,
    pieces: bool,
    as_json: bool,
) -> None:
    """Print what a model says of texts or images, in plaintext: a teacher or a student, before it is served.

    MODEL is a Hugging Face directory, `demo`, or `hub:owner/name`, fetched where a hub can be reached.

    In JSON each text has its `outputs` (logits; of each word piece where every one has its own; a vector, or the rows
    of an encoder that says no more) and the `labels` that it gets, and what `freediv infer` tells of its answer.

    \b
    Examples: freediv predict demo --text "a warm and funny film"
              freediv predict reranker --pair "is it raining?" "bring an umbrella" --json
              freediv predict vit --image scan.png
    """
    from ..conversion.compiled import keep_compiled
    from ..conversion.measures.predicting import predict as read
    from ..model import read_model

    keep_compiled()
    given = texts_given(texts, pairs, file, text_columns, images, "read")
    loaded = read_model(model)
    if pieces and not loaded.architecture.padded:
        raise UserError("--pieces: the model reads images, which have no word pieces; leave it out")
    found = read(loaded, given, truncate=truncate, longest=longest)
    if as_json:
        entries = (json.dumps(one.entry(pieces=pieces), allow_nan=False) for one in found)
        click.echo("[\n  " + ",\n  ".join(entries) + "\n]")
    else:
        _print_predictions(loaded.architecture, found, pieces)


def _print_predictions(architecture: Architecture, found: Sequence[Plaintext], pieces: bool) -> None:
    from rich.table import Table

    from ..model.answers import WITHOUT_ANSWER, answer_of
    from ..model.reading import on_one_line
    from ..terminal import console

    answer = answer_of(architecture)
    scored = answer.linear and not answer.each_piece and 1 < architecture.labels <= _COLUMNS
    names = architecture.label_names if scored else ()
    noun = "text" if architecture.padded else "image"
    columns = (answer.words.one, *names, noun, *(["pieces"] if pieces else []))
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for one in found:
        text = on_one_line(one.read.given)
        scores = (f"{number:.4f}" for number in one.outputs) if names else ()
        table.add_row(one.prediction.name, *scores, text, *([" ".join(one.read.pieces)] if pieces else []))
    out = console()
    out.print(table, markup=False)
    if silent := sum(not one.prediction.answered for one in found):
        out.print(f"{silent} {WITHOUT_ANSWER}: the model could be wrong about them")


@click.command()
@click.argument("model", type=_PATH)
@click.option(
    "--data",
    type=_PATH,
    required=True,
    help="Labelled: .tsv, .csv or .jsonl with named columns, or a folder of images by class.",
)
@columns
@click.option("--secure", type=_PATH, metavar="DIR", help="Through parties that run, as this folder says.")
@click.option("--card", is_flag=True, help="With --secure: add what came of it to the model's card.")
@click.option(
    "--against", type=_PATH, metavar="TEACHER", help="Beside this model, in plaintext: how far they lie apart."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    model: Path,
    data: Path,
    text_columns: tuple[str, ...],
    image_column: str,
    label_column: str,
    secure: Path | None,
    card: bool,
    against: Path | None,
    as_json: bool,
) -> None:
    """Measure a model: accuracy with its 95 % interval, overall and by length; of other answers than labels what fits
    them, such as rank correlation or F1.

    MODEL is a Hugging Face directory, `demo`, the model that comes with freediv, or what `freediv quantize` wrote. In
    plaintext; with --secure through running parties that serve it, and beside it how many labels agree with plaintext;
    with --against beside the teacher that it was converted from, so that a difference of a few rows can be told from
    chance.

    \b
    Examples:
      freediv evaluate demo --data dev.tsv --json
      freediv evaluate student --data dev.tsv --against teacher
      freediv evaluate demo --data dev.tsv --secure deployment
    """
    from ..conversion.cards.card import require_card
    from ..conversion.compiled import keep_compiled
    from ..conversion.measures.predictions import evaluate as measure
    from ..conversion.quantisation.quantising import evaluate_quantised
    from ..conversion.quantisation.stored import is_quantised, read_quantised
    from ..conversion.texts.examples import read_examples
    from ..model import read_model, resolve_model
    from ..model.answers import answer_of

    keep_compiled()
    if card and secure is None:
        raise UserError("--card: plaintext accuracy is in the card already; add --secure DIR")
    if against is not None and secure is not None:
        raise UserError("--against compares in plaintext, --secure does so with the model itself; give one of them")
    quantised = is_quantised(model)
    if quantised and (secure is not None or against is not None):
        raise UserError(f"{model}: is quantised, which is evaluated in plaintext, by itself; leave the option out")
    loaded, setting = read_quantised(model) if quantised else (read_model(model), None)
    names, answer = loaded.architecture.label_names, answer_of(loaded.architecture)
    if answer.target == "nothing" and secure is None and against is None:
        raise UserError(f"{model}: no data says what {answer.words.one} a text has; add --against TEACHER")
    examples = read_examples(
        data, text_columns=text_columns, label_column=label_column, label_names=names, target=answer.target,
        image_column=None if loaded.architecture.padded else image_column,
    )  # fmt: skip
    if secure is not None:
        if card:
            require_card(resolve_model(model))
        found_privately = _evaluate_privately(secure, loaded, examples, as_json)
        if card:
            _extend_card(loaded, found_privately, examples)
        return
    if against is not None:
        _compare(loaded, read_model(against), examples, as_json)
        return
    found = measure(loaded, examples) if setting is None else evaluate_quantised(loaded, setting, examples)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    _print_evaluation(found)


def _compare(model: Model, teacher: Model, examples: Examples, as_json: bool) -> None:
    from ..conversion.measures.comparison import compare

    found = compare(model, teacher, examples)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    if found.student is not None and found.teacher is not None:
        _print_evaluation(found.student)
        click.echo(f"{teacher.directory}: {found.teacher.overall.measure} {found.teacher.overall}")
    agreement = found.agreement
    alike = f"beside {teacher.directory}: {agreement.measure}" if agreement.correct is None else "the same label:"
    click.echo(f"{alike} {agreement} ({agreement.counts})")
    if found.chance is None:
        click.echo(f"distance of what it gives: {found.divergence:.4f}")
        return
    chance = "less than 1 %" if found.chance < 0.01 else f"{100 * found.chance:.0f} %"
    click.echo(
        f"right where the other is wrong: {found.only_student} and {found.only_teacher} rows; two equally accurate "
        f"models differ by as much in {chance} of such data"
    )
    click.echo(f"divergence of the probabilities: {found.divergence:.4f} nats")


def _print_evaluation(found: Evaluation) -> None:
    from ..model.answers import WITHOUT_ANSWER

    click.echo(f"{found.overall.measure} {found.overall} ({found.overall.counts})")
    for length, own in found.by_length.items():
        click.echo(f"  up to {length:3} pieces: {own} ({own.counts})")
    for one in found.others:
        click.echo(f"{one.measure} {one}")
    if found.without_answer:
        click.echo(f"{WITHOUT_ANSWER}, which counts as wrong: {found.without_answer}")


def _extend_card(model: Model, found: PrivateEvaluation, examples: Examples) -> None:
    from ..conversion.cards.attempts import percent
    from ..conversion.cards.card import extend_card, table
    from ..model.answers import answer_of

    assert model.directory is not None
    rows = [
        [found.private.overall.measure, percent(found.private.overall)],
        [f"the same {answer_of(model.architecture).words.one} as in plaintext", percent(found.agreement)],
        *(
            []
            if found.largest_logit_error is None
            else [["largest error of a logit", f"{found.largest_logit_error:.4f}"]]
        ),
    ]
    about = f"`{examples.source.name}`, {len(examples):,} rows, through running parties.\n\n"
    kept = found.to_dict() | {
        "data": examples.source.name,
        "agreement": {"correct": found.agreement.correct, "count": found.agreement.count},
    }
    extend_card(model.directory, "secure", kept, ("Private answers", about + table(["", ""], rows)))


def _evaluate_privately(directory: Path, model: Model, examples: Examples, as_json: bool) -> PrivateEvaluation:
    from ..cluster.folders import owner_folder
    from ..deploy.private_evaluation import evaluate_privately
    from ..model.answers import answer_of
    from ..progress import Meter

    with Meter("classify privately", 1000) as meter:
        found = evaluate_privately(
            owner_folder(directory, "data-owner"),
            model,
            examples,
            lambda progress: meter.update(1000 * progress.done // progress.total),
        )
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return found
    _print_evaluation(found.private)
    agreement = found.agreement
    same = f"the same {answer_of(model.architecture).words.one}"
    click.echo(f"in plaintext {found.plaintext.overall}; {same} for {agreement.correct} of {agreement.count}")
    if found.differing:
        click.echo(f"rows that differ: {', '.join(str(row) for row in found.differing)}")
    if found.largest_logit_error is not None:
        click.echo(f"largest error of a logit: {found.largest_logit_error:.4f}")
    click.echo(f"{found.requests} requests, {found.seconds:.0f} s")
    return found


@click.command()
@click.argument("model", type=_PATH)
@click.option(
    "--data", type=_PATH, required=True, help="Texts: a line (.txt) or a row (.tsv, .csv, .jsonl); or images."
)
@text_columns
@click.option(
    "--length",
    "lengths",
    type=click.IntRange(4),
    multiple=True,
    metavar="PIECES",
    help="Cut texts there; may be given several times.  [default: the model's longest]",
)
@click.option("--against", type=_PATH, metavar="TEACHER", help="Also say how often it gives this model's label.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def headroom(
    model: Path,
    data: Path,
    text_columns: tuple[str, ...],
    lengths: tuple[int, ...],
    against: Path | None,
    as_json: bool,
) -> None:
    """Check on any texts that a model's values stay in the ring: every stage's largest magnitude, and its headroom.

    Beside it what no text can exceed while the stages before stay in range, where the weights prove that. In the ring
    a value that is too large wraps around, and the answer is wrong without a sign. Exit status 2 if one would. MODEL is
    run as a secure run would, in plaintext.

    \b
    Example:
      freediv headroom student --data reviews.jsonl --text-column text --length 64 --length 128 --against teacher
    """
    from ..conversion.compiled import keep_compiled
    from ..conversion.measures.bounds import within_the_ring
    from ..conversion.measures.headroom import CAPACITY_BITS, bits_of
    from ..conversion.measures.range_check import check_ranges
    from ..conversion.texts.examples import read_texts
    from ..conversion.texts.images import read_images
    from ..conversion.texts.pairing import as_read
    from ..model import read_model, resolve_model
    from ..model.reading import reads_images

    keep_compiled()
    images = reads_images(resolve_model(model))
    if images and lengths:
        raise UserError("--length: the model reads images, which are not cut; leave it out")
    texts = read_images(data) if images else read_texts(data, text_columns)
    loaded, teacher = (None if each is None else as_read(read_model(each), texts, data) for each in (model, against))
    assert loaded is not None
    found = check_ranges(loaded, texts, lengths or (loaded.architecture.buckets[-1],), teacher)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2))
    else:
        for one in found:
            agreement = "" if one.agreement is None else f"; the label of {against}: {one.agreement}"
            silent = one.headroom.without_answer
            within = f" in the {one.count - silent:,} that get an answer" if silent else ""
            what = f"images of {one.length} rows" if images else f"texts cut at {one.length} pieces"
            click.echo(f"{one.count:,} {what}: {one.headroom.bits:.1f} bits of headroom{within}{agreement}")
            for stage, largest in one.headroom.largest.items():
                bound = one.bounds[stage]
                proven = f"   no text exceeds {bound:12,.0f}" if within_the_ring(bound) else ""
                click.echo(f"  {stage:24} {largest:16,.1f} {bits_of(largest):6.1f} bits{proven}")
    beyond = [(one.length, *item) for one in found for item in one.headroom.largest.items() if bits_of(item[1]) < 0]
    if beyond:
        length, stage, largest = beyond[0]
        raise UserError(
            f"{stage} reaches {largest:,.0f} on texts cut at {length} pieces, the ring holds 2^{CAPACITY_BITS} "
            f"({2**CAPACITY_BITS:,}): answers would be wrong without a sign"
        )
