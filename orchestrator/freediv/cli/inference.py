"""`freediv load`, `infer` and `demo`: what owners do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..monitoring.costs import RunCost
    from ..roles.config import Agreement
    from ..roles.data_owner import Answers, Progress
    from ..transformer import Text

_WAIT = click.option("--wait", default=0.0, help="Seconds to wait for parties that are not up yet.")
_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.command()
@_DIRECTORY
@click.argument("model", metavar="MODEL")
@click.option(
    "--without-headroom",
    is_flag=True,
    help="Load a model whose headroom nobody measured, or that has none: it may be wrong unseen.",
)
@_WAIT
def load(directory: Path, model: str, without_headroom: bool, wait: float) -> None:
    """Share a model with the parties, as the model owner, and have them serve it.

    DIR is a rendered directory or the model owner's folder; MODEL a model directory, or `demo`.

    An upload that is cut off goes on where it was when the same command is given again, as long as the parties keep
    what they have of it (a day; `unfinished_s` in the topology's limits).

    \b
    Example:  freediv load deployment demo
    """
    from ..render import owner_folder
    from ..roles.model_owner import load as load_model

    folder = owner_folder(directory, "model-owner")
    _wait(folder, wait, with_model=False)
    with progress_bar() as advance:
        loading = load_model(folder, model, without_headroom=without_headroom, on_progress=advance)
    size = f"{loading.upload_bytes / 1e6:.1f} MB of shares sent"
    if loading.held:
        size += f", after {loading.held:.0%} of the weights in an upload that was cut"
    click.echo(f"all parties serve {model} ({size}, {loading.seconds:.1f} s); model {loading.model_id}")


@click.command()
@_DIRECTORY
@click.option("--text", "texts", multiple=True, help="A sentence; may be given several times.")
@click.option("--pair", "pairs", type=(str, str), multiple=True, help="Two sentences, for a model that reads pairs.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="A sentence a line (.txt), or columns (.tsv, .csv, .jsonl).",
)
@click.option(
    "--text-column",
    "text_columns",
    multiple=True,
    default=["sentence"],
    show_default=True,
    help="Column of the file's sentences; twice for pairs.",
)
@click.option("--name", help="Which data owner, where a rendered directory holds several.")
@click.option("--json", "as_json", is_flag=True, help="Print predictions and costs as JSON.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write predictions and costs here, as JSON.")
@click.option("--report", type=click.Path(path_type=Path), help="Print the cost table, and write the page here.")
@click.option("--with-sentences", is_flag=True, help="Show sentences and their labels on the page, too.")
@_WAIT
def infer(
    directory: Path,
    texts: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    file: Path | None,
    text_columns: tuple[str, ...],
    name: str | None,
    as_json: bool,
    output: Path | None,
    report: Path | None,
    with_sentences: bool,
    wait: float,
) -> None:
    """Classify sentences, as a data owner: no party sees them, nor their labels.

    DIR is a rendered directory or a data owner's folder.

    \b
    Examples: freediv infer deployment --text "a warm and funny film" --report costs.html
              freediv infer deployment --pair "is it raining?" "bring an umbrella"
    """
    from ..render import owner_folder
    from ..roles.config import read_owner_config
    from ..roles.data_owner import infer as classify

    _check_place(report)
    sentences = [*texts, *pairs, *(read_sentences(file, text_columns) if file is not None else [])]
    if not sentences:
        raise UserError("there is nothing to classify; give --text, --pair or --file")
    folder = owner_folder(directory, "data-owner", name)
    config = read_owner_config(folder)
    _wait(folder, wait, with_model=True)
    with progress_bar() as advance:
        answers = classify(folder, sentences, on_progress=_stepwise(advance))
    run = run_cost("infer", "the model in use", config, answers)
    if output is None:
        show(run, sentences, answers, as_json=as_json, report=report, on_page=with_sentences)
        return
    write_answers(output, document(run, sentences, answers))
    click.echo(f"{len(sentences)} predictions in {output}")


def _wait(folder: Path, seconds: float, *, with_model: bool) -> None:
    """Wait for the parties, if that is asked for, and say what for."""
    from ..roles.config import read_owner_config
    from ..roles.status import wait_for_parties

    if seconds > 0:
        config = read_owner_config(folder)
        wait_for_parties(
            config, seconds, with_model=with_model, on_problem=lambda text: click.echo(f"waiting: {text}", err=True)
        )


def read_sentences(path: Path, columns: Sequence[str] = ("sentence",)) -> list[Text]:
    """The sentences of a file, or the pairs in two of its columns.

    Raises:
        UserError: no such file, nothing in it, or a line that is empty.
    """
    if path.suffix != ".txt":
        from ..conversion.data import read_examples

        return list(read_examples(path, text_columns=columns, labelled=False).texts)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    sentences: list[Text] = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise UserError(f"{path} is empty; give a file with a sentence a line")
    return sentences


def run_cost(command: Any, model: str, config: Agreement, answers: Answers) -> RunCost:
    """What all requests cost, in the form that table, page and JSON share."""
    from importlib.metadata import version

    from ..monitoring.costs import PartyCost, RequestCost, RunCost

    requests = tuple(
        RequestCost(
            batch=request.batch,
            length=request.length,
            seconds=request.seconds,
            preparation_seconds=min(request.seconds, max(party.preparation_seconds for party in request.parties)),
            upload_bytes=request.upload_bytes,
            run_requests=request.run_requests,
            run_sentences=request.run_sentences,
            parties=tuple(
                PartyCost(
                    rank=party.rank,
                    stages=party.stages,
                    link_sent_bytes=party.link_sent_bytes,
                    link_received_bytes=party.link_received_bytes,
                    link_sent_messages=party.link_sent_messages,
                    link_received_messages=party.link_received_messages,
                    peak_memory_bytes=party.peak_memory_bytes,
                )
                for party in request.parties
            ),
        )
        for request in answers.requests
    )
    return RunCost(
        command=command,
        model=model,
        architecture=answers.architecture,
        protocol=config.protocol,
        field=config.field,
        fraction_bits=config.fraction_bits,
        spu=version("spu"),
        output=config.output,
        requests=requests,
    )


def document(run: RunCost, sentences: Sequence[Text], answers: Answers) -> str:
    """Predictions and costs as JSON."""
    entries = [
        {"text": text, "label": None if one.label is None else one.name}
        | ({"logits": one.logits} if one.logits is not None else {})
        for text, one in zip(sentences, answers.predictions, strict=True)
    ]
    return json.dumps({"predictions": entries, "cost": run.model_dump(mode="json")}, indent=2)


def write_answers(path: Path, text: str) -> None:
    """Write a file that only its owner can read.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def show(
    run: RunCost,
    sentences: Sequence[Text],
    answers: Answers,
    *,
    as_json: bool,
    report: Path | None,
    on_page: bool,
    expected: Sequence[str] = (),
) -> None:
    """Print predictions, and with `report` what they cost; write the page, with sentences only where `on_page`."""
    from rich.console import Console
    from rich.table import Table

    from ..monitoring.report import Sentence, write_report
    from ..monitoring.table import print_costs

    if as_json:
        click.echo(document(run, sentences, answers))
    else:
        console = Console()
        table = Table("label", *(["expected"] if expected else []), "sentence", box=None, padding=(0, 2, 0, 0))
        for row, (text, one) in enumerate(zip(sentences, answers.predictions, strict=True)):
            table.add_row(one.name, *([expected[row]] if expected else []), _on_one_line(text))
        console.print(table, highlight=False, markup=False)
        seconds = sum(request.seconds for request in run.requests)
        counts = f"{_count(len(sentences), 'sentence')} in {_count(len(run.requests), 'request')}"
        console.print(f"{counts}, {seconds:.1f} s", highlight=False)
        if silent := sum(one.label is None for one in answers.predictions):
            console.print(f"{silent} without an answer: the model could be wrong about them", highlight=False)
    if report is not None:
        if not as_json:
            print_costs(run, Console())
        rows = zip(sentences, answers.predictions, strict=True)
        write_report(report, run, [Sentence(_on_one_line(t), p.name) for t, p in rows] if on_page else [])
        click.echo(f"page: {report.resolve()}", err=as_json)


def _on_one_line(text: Text) -> str:
    return text if isinstance(text, str) else " | ".join(text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _check_place(report: Path | None) -> None:
    """Say before the work, not after it, that the page cannot be written."""
    if report is not None and not report.parent.is_dir():
        raise UserError(f"{report}: there is no directory {report.parent}; create it, or choose another place")


def _stepwise(advance: Callable[[str, float], None]) -> Callable[[Progress], None]:
    return lambda progress: advance(progress.step, progress.done / progress.total)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on standard error; yields what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("connecting", total=1.0)

        def advance(step: str, fraction: float) -> None:
            progress.update(task, description=step, completed=fraction)

        yield advance


@click.command()
@click.option("--model", default="demo", show_default=True, help="A model directory, or the name of a shipped one.")
@click.option("--json", "as_json", is_flag=True, help="Print predictions and costs as JSON.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("freediv-demo.html"),
    show_default=True,
    help="Where to write the page.",
)
def demo(model: str, as_json: bool, report: Path) -> None:
    """Classify the package's own sentences privately, with three parties on this machine, and show what it cost.

    Starts everything, and stops it again.

    \b
    Example:  freediv demo
    """
    from ..demonstration import demonstrate

    _check_place(report)
    with progress_bar() as advance:
        found = demonstrate(model, advance)
    run = run_cost("demo", model, found.topology, found.answers)
    show(run, found.sentences, found.answers, as_json=as_json, report=report, on_page=True, expected=found.expected)
    right = sum(wanted == one.name for wanted, one in zip(found.expected, found.answers.predictions, strict=False))
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in found.phases.items())
    memory = ", ".join(f"{name} {peak / 2**20:.0f} MiB" for name, peak in found.peak_memory_bytes.items())
    total = sum(found.peak_memory_bytes.values()) / 2**20
    for line in (
        *([f"{right} of {len(found.expected)} as expected"] if found.expected else []),
        f"phases: {phases}; together {sum(found.phases.values()):.1f} s",
        f"peak memory: {memory}; together at most {total:.0f} MiB",
    ):
        click.echo(line, err=as_json)
