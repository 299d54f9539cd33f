"""`freediv load`, `infer` and `demo`: what owners do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from ..files import PRIVATE, NewFile, WriteError, opened_output, require_distinct
from .options.texts import texts_given, texts_to_read

if TYPE_CHECKING:
    from socket import socket
    from threading import Event

    from ..deploy.demonstration import Demonstration
    from ..model import Given
    from ..monitoring.costs import RunCost
    from ..owners.data_owner import Answers, Progress

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
@click.option(
    "--fresh-budget",
    is_flag=True,
    help="Have data owners' budgets begin anew. Without it, what they asked of a model that is alike in all that is "
    "public (architecture, tokenizer, public word table) counts on.",
)
@click.option(
    "--check-pixels",
    is_flag=True,
    help="Have the parties compare each pixel that is sent with what the image processor makes, and answer no image "
    "that has others.",
)
@_WAIT
def load(
    directory: Path, model: str, without_headroom: bool, fresh_budget: bool, check_pixels: bool, wait: float
) -> None:
    """Share a model with the parties, as the model owner, and have them serve it.

    DIR is a rendered directory or the model owner's folder; MODEL a model directory, or `demo`.

    An upload that is cut off goes on where it was when the same command is given again, as long as the parties keep
    what they have of it (a day; `unfinished_s` in the topology's limits).

    \b
    Example:  freediv load deployment demo
    """
    from ..cluster.folders import owner_folder
    from ..owners.model_owner import load as load_model

    folder = owner_folder(directory, "model-owner")
    _wait(folder, wait, with_model=False)
    with progress_bar() as advance:
        loading = load_model(
            folder,
            model,
            without_headroom=without_headroom,
            fresh_budget=fresh_budget,
            check_pixels=check_pixels,
            on_progress=advance,
        )
    size = f"{loading.upload_bytes / 1e6:.1f} MB of shares sent"
    if loading.held:
        size += f", after {loading.held:.0%} of the weights in an upload that was cut"
    budgets = "; budgets begin anew" if fresh_budget else ""
    click.echo(f"all parties serve {model} ({size}, {loading.seconds:.1f} s); model {loading.model_id}{budgets}")


@click.command()
@_DIRECTORY
@texts_to_read
@click.option("--name", help="Which data owner, where a rendered directory holds several.")
@click.option("--json", "as_json", is_flag=True, help="Print predictions and costs as JSON.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write predictions and costs here, as JSON.")
@click.option("--report", type=click.Path(path_type=Path), help="Print the cost table, and write the page here.")
@click.option("--with-sentences", is_flag=True, help="Show sentences and their labels on the page, too.")
@_WAIT
def infer(
    directory: Path,
    texts: tuple[str, ...],
    images: tuple[Path, ...],
    pairs: tuple[tuple[str, str], ...],
    file: Path | None,
    text_columns: tuple[str, ...],
    truncate: bool,
    name: str | None,
    as_json: bool,
    output: Path | None,
    report: Path | None,
    with_sentences: bool,
    wait: float,
) -> None:
    """Classify sentences or images, as a data owner: no party sees them, nor their labels.

    DIR is a rendered directory or a data owner's folder.

    \b
    Examples: freediv infer deployment --text "a warm and funny film" --report costs.html
              freediv infer deployment --pair "is it raining?" "bring an umbrella"
              freediv infer deployment --image scans
    """
    from ..cluster.configuration import read_owner_config
    from ..cluster.folders import owner_folder
    from ..owners.costs import run_cost
    from ..owners.data_owner import PartlyAnswered
    from ..owners.data_owner import infer as classify

    sentences = texts_given(texts, pairs, file, text_columns, images, "classify")
    folder = owner_folder(directory, "data-owner", name)
    config = read_owner_config(folder)
    require_distinct(file, output, report)
    with opened_output(output, PRIVATE) as answers_file, opened_page(report, with_sentences) as page:
        _wait(folder, wait, with_model=True)
        cut_off: UserError | None = None
        try:
            with progress_bar() as advance:
                answers = classify(folder, sentences, on_progress=_stepwise(advance), truncate=truncate)
        except PartlyAnswered as error:
            answers, cut_off = error.answers, error
            sentences = [sentences[row] for row in error.rows]
        run = run_cost(answers.requests, answers.architecture, config)
        if answers_file is None:
            show(run, sentences, answers, as_json=as_json)
        else:
            _write_answers(answers_file, document(run, sentences, answers))
            as_json = as_json or answers_file.is_printed
            click.echo(f"{len(sentences)} predictions in {output}", err=as_json)
        if page is not None:
            show_page(page, run, sentences, answers, as_json=as_json, on_page=with_sentences)
        if cut_off is not None:
            raise cut_off


def _wait(folder: Path, seconds: float, *, with_model: bool) -> None:
    """Wait for the parties, if that is asked for, and say what for."""
    from ..cluster.configuration import read_owner_config
    from ..wire.status import wait_for_parties

    if seconds > 0:
        config = read_owner_config(folder)
        wait_for_parties(
            config, seconds, with_model=with_model, on_problem=lambda text: click.echo(f"waiting: {text}", err=True)
        )


def document(run: RunCost, sentences: Sequence[Given], answers: Answers) -> str:
    """Predictions and costs as JSON."""
    from ..model.reading import as_entry

    entries = [as_entry(text) | one.entry() for text, one in zip(sentences, answers.predictions, strict=True)]
    return json.dumps({"predictions": entries, "cost": run.model_dump(mode="json")}, indent=2)


def _write_answers(file: NewFile, text: str) -> None:
    """Write what was paid for; where the disk has filled up meanwhile, print it instead.

    Raises:
        UserError: it was printed.
    """
    try:
        file.write(text + "\n")
    except WriteError as error:
        click.echo(text)
        raise UserError(f"{error}; the answers are on standard output instead") from None


def show(
    run: RunCost, sentences: Sequence[Given], answers: Answers, *, as_json: bool, expected: Sequence[str] = ()
) -> None:
    """Print predictions."""
    from rich.table import Table

    from ..model.answers import WITHOUT_ANSWER, answer_of
    from ..terminal import console

    if as_json:
        click.echo(document(run, sentences, answers))
        return
    out, noun = console(), "sentence" if answers.architecture.padded else "image"
    table = Table(
        answer_of(answers.architecture).words.one,
        *(["expected"] if expected else []),
        noun,
        box=None,
        padding=(0, 2, 0, 0),
    )
    for row, (text, one) in enumerate(zip(sentences, answers.predictions, strict=True)):
        table.add_row(one.name, *([expected[row]] if expected else []), _on_one_line(text))
    out.print(table)
    seconds = sum(request.seconds for request in run.requests)
    counts = f"{_count(len(sentences), noun)} in {_count(len(run.requests), 'request')}"
    out.print(f"{counts}, {seconds:.1f} s")
    if silent := sum(not one.answered for one in answers.predictions):
        out.print(f"{silent} {WITHOUT_ANSWER}: the model could be wrong about them")


def opened_page(path: Path | None, with_sentences: bool) -> NewFile | nullcontext[None]:
    """The page's file, for its owner alone where it will hold sentences.

    Raises:
        UserError: it cannot be written.
    """
    return opened_output(path, PRIVATE if with_sentences else None)


def show_page(
    page: NewFile, run: RunCost, sentences: Sequence[Given], answers: Answers, *, as_json: bool, on_page: bool
) -> None:
    """Print what it cost, but for `as_json` and where the page itself is printed; write the page, with sentences only
    where `on_page`.

    Raises:
        UserError: it cannot be written.
    """
    from ..monitoring.report import Sentence, render_report
    from ..monitoring.table import print_costs
    from ..terminal import console

    apart = as_json or page.is_printed
    if not apart:
        print_costs(run, console())
    rows = zip(sentences, answers.predictions, strict=True)
    page.write(render_report(run, [Sentence(_on_one_line(t), p.name) for t, p in rows] if on_page else []))
    click.echo(f"page: {page.path.absolute()}", err=apart)


def _on_one_line(text: Given) -> str:
    from ..model.reading import on_one_line

    return on_one_line(text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _stepwise(advance: Callable[[str, float], None]) -> Callable[[Progress], None]:
    return lambda progress: advance(progress.step, progress.done / progress.total)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on standard error; yields what moves it."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from ..terminal import console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    errors = console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
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
@click.option("--serve", is_flag=True, help="Then answer programs and browsers on this machine until Ctrl-C.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Where, with --serve, on 127.0.0.1: 8080 by default; 0: any free one."
)
def demo(model: str, as_json: bool, report: Path, serve: bool, port: int | None) -> None:
    """Classify the package's own sentences privately, with three parties on this machine, and show what it cost.

    Starts everything, and stops it again; with --serve, not before Ctrl-C.

    \b
    Example:  freediv demo --serve
              curl 127.0.0.1:8080/predict --json '{"inputs": "a film with a heart"}'
    """
    from ..deploy.demonstration import demonstrate

    if port is not None and not serve:
        raise UserError(f"--port {port} is where --serve is to answer: give both")
    with ExitStack() as stack:
        page = stack.enter_context(opened_page(report, with_sentences=False))  # they are the package's own
        door = stack.enter_context(closing(_reserved(8080 if port is None else port))) if serve else None
        bar = stack.enter_context(ExitStack())
        advance = bar.enter_context(progress_bar())

        def tell(found: Demonstration) -> None:
            bar.close()
            _show_demonstration(model, found, page, as_json=as_json)

        def answer(found: Demonstration, stopped: Event) -> None:
            from ..door.opening import open_local_door

            tell(found)
            assert door is not None
            open_local_door(found.folder, door, lambda address, models: _say_address(address, as_json), stopped)

        found = demonstrate(model, advance, None if door is None else answer)
        if door is None:
            tell(found)


def _reserved(port: int) -> socket:
    """A socket of 127.0.0.1, which nobody else gets meanwhile.

    Raises:
        UserError: it is not to be had.
    """
    from ..cluster.ports import bound

    try:
        found = bound("127.0.0.1", port)
        found.listen()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"cannot listen on 127.0.0.1:{port} ({reason}); choose another with --port, or any free one with --port 0"
        ) from None
    return found


def _say_address(address: str, as_json: bool) -> None:
    example = """--json '{"inputs": "a film with a heart"}'"""
    click.echo(f"{address} answers until Ctrl-C, such as: curl {address}/predict {example}", err=as_json)


def _show_demonstration(model: str, found: Demonstration, page: NewFile | None, *, as_json: bool) -> None:
    from ..owners.costs import run_cost

    answers = found.answers
    run = run_cost(answers.requests, answers.architecture, found.topology, command="demo", model=model)
    show(run, found.sentences, answers, as_json=as_json, expected=found.expected)
    if page is not None:
        show_page(page, run, found.sentences, answers, as_json=as_json, on_page=True)
    right = sum(wanted == one.name for wanted, one in zip(found.expected, answers.predictions, strict=False))
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in found.phases.items())
    memory = ", ".join(f"{name} {peak / 2**20:.0f} MiB" for name, peak in found.peak_memory_bytes.items())
    total = sum(found.peak_memory_bytes.values()) / 2**20
    for line in (
        *([f"{right} of {len(found.expected)} as expected"] if found.expected else []),
        f"phases: {phases}; together {sum(found.phases.values()):.1f} s",
        f"peak memory: {memory}; together at most {total:.0f} MiB",
    ):
        click.echo(line, err=as_json)
