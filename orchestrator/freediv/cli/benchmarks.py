"""`freediv bench`: what each choice costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import UserError
from ..files import opened_output, require_distinct
from ..mpc.sharing.settings import Products, Protocol
from .options.charts import opened_chart
from .options.interleaved import interleaved, lanes_of, networks_of

if TYPE_CHECKING:
    from rich.table import Table

    from ..bench.claim import Beside
    from ..bench.measure import Measurement
    from ..bench.variants import Variant
    from ..model import Architecture

_WIDEST = 1000
_OF_LAYERS: dict[str, Any] = {"vocabulary": 16, "embedding": "public", "pooling": "mean"}
"""Of a model whose layers alone are counted: as those are that others follow, since a mean reads all rows."""
_DEFAULT = "baseline,mpcformer,paper-2quad-freediv,ours,ours-minimal,linear-only"


@click.group()
def bench() -> None:
    """What each choice costs, side by side, in one interleaved run through real party processes.

    \b
    Example:  freediv bench layer --length 128 --repeats 3 --chart layer.svg
    """


@bench.command()
@click.option("--hidden", default=768, show_default=True)
@click.option("--heads", default=12, show_default=True)
@click.option("--intermediate", default=3072, show_default=True)
@click.option("--layers", default=1, show_default=True, help="Encoder layers that are run; figures are per layer.")
@click.option("--variants", default=_DEFAULT, show_default=True, help="Names, separated by commas.")
@interleaved
def layer(hidden: int, heads: int, intermediate: int, layers: int, variants: str, **options: Any) -> None:
    """One encoder layer.

    \b
    Example:  freediv bench layer --hidden 384 --heads 12 --intermediate 1536 --length 32
    """
    from ..bench.variants import choose

    sizes = {"hidden": hidden, "heads": heads, "intermediate": intermediate, "layers": layers}
    architecture = _architecture(positions=options["length"], **_OF_LAYERS, **sizes)
    _run(architecture, choose(variants), f"one encoder layer, {hidden} wide", part="layer", **options)


@bench.command()
@click.argument("directory", metavar="[MODEL]", required=False)
@click.option("--hidden", default=768, show_default=True)
@click.option("--heads", default=12, show_default=True)
@click.option("--intermediate", default=3072, show_default=True)
@click.option("--layers", default=12, show_default=True)
@click.option("--vocabulary", default=30522, show_default=True)
@click.option("--embedding", type=click.Choice(["secret", "public"]), default="secret", show_default=True)
@click.option("--preset", help="Sizes of a vision transformer, of 197 rows: deit-s or vit-b; --layers of its layers.")
@click.option("--variants", help="Names, separated by commas.  [default: those of `layer`, or `itself` with MODEL]")
@click.option("--card", is_flag=True, help="Add what MODEL costs to its card.")
@interleaved
def model(directory: str | None, preset: str | None, variants: str | None, card: bool, **options: Any) -> None:
    """A whole classifier, embedding and head included.

    With MODEL (a directory, or `demo`) its sizes are taken, and the variant `itself` has its functions. Weights are
    random: their values change no cost.

    \b
    Examples: freediv bench model demo --length 32
              freediv bench model student --length 128 --card
              freediv bench model --variants baseline,ours --length 128
              freediv bench model --preset deit-s --variants baseline,ours
    """
    from ..bench import tables
    from ..bench.presets import preset as sizes_of
    from ..bench.variants import choose
    from ..conversion.cards.card import extend_card, require_card
    from ..model import read_model, resolve_model

    sizes = {key: options.pop(key) for key in ("hidden", "heads", "intermediate", "layers", "vocabulary", "embedding")}
    if card and (directory is None or variants):
        raise UserError("--card needs a MODEL, whose own functions are measured: leave --variants out")
    if preset is not None and directory is not None:
        raise UserError("--preset has sizes of its own, and so has MODEL: give one of them")
    if directory is None:
        if preset is None:
            architecture = _architecture(positions=max(512, options["length"]), **sizes)
        else:
            architecture = sizes_of(preset, sizes["layers"])
            options["length"] = architecture.positions
        title = f"{architecture.layers} layers, {architecture.hidden} wide"
        _run(architecture, choose(variants or _DEFAULT), title, **options)
        return
    architecture = read_model(directory).architecture
    if not architecture.padded:
        options["length"] = architecture.positions
    _check_length(options["length"], directory, architecture)
    if card:
        require_card(resolve_model(directory))
    (measured, *_) = _run(architecture, choose(variants or "itself"), directory, **options)
    if card:
        cost = measured.to_dict() | {key: options[key] for key in ("length", "batch", "protocol")}
        extend_card(resolve_model(directory), "cost", cost, tables.cost_section(measured, options["length"]))


@bench.command()
@click.option("--hidden", default=768, show_default=True)
@click.option("--vocabulary", default=30522, show_default=True)
@click.option("--factorised-to", default=128, show_default=True, help="Width of the factorised table.")
@click.option("--cut-to", default=8192, show_default=True, help="Word pieces of the cut table.")
@interleaved
def embedding(hidden: int, vocabulary: int, factorised_to: int, cut_to: int, **options: Any) -> None:
    """The embedding: a secret table, whole, factorised, cut; a public one.

    \b
    Example:  freediv bench embedding --length 128
    """
    from ..bench.variants import embeddings

    if not (0 < factorised_to < hidden and 0 < cut_to < vocabulary):
        raise UserError("--factorised-to has to be below --hidden, and --cut-to below --vocabulary")
    sizes = {"hidden": hidden, "heads": 1, "intermediate": 1, "layers": 0, "vocabulary": vocabulary}
    architecture = _architecture(positions=max(512, options["length"]), embedding="secret", **sizes)
    title = f"embedding of {vocabulary} word pieces, {hidden} wide"
    _run(architecture, embeddings(factorised_to, cut_to), title, part="embedding", **options)


@bench.command()
@click.argument("directory", metavar="MODEL")
@click.option("--blocks", "choices", multiple=True, metavar="LAYERS", help="Such as 3-5 or 1,3,5; may be repeated.")
@click.option("--drop-tokens", metavar="LAYERS", help="Each again with tokens left out, as `finetune` has it.")
@click.option(
    "--keep-tokens", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.5, show_default=True
)
@click.option("--length", type=click.IntRange(4), default=32, show_default=True, help="Word pieces of each text.")
@click.option("--tokens-per-batch", "tokens", type=click.IntRange(8), default=1024, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Steps that are timed.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows to a file.")
def training(
    directory: str, choices: tuple[str, ...], drop_tokens: str | None, json_file: Path | None, **options: Any
) -> None:
    """A step of `freediv finetune`, with all layers trained and with some alone: memory, operations, seconds.

    Memory and operations are those of the compiled step, as XLA counts them; the seconds are the fastest step's.

    \b
    Example:  freediv bench training all-MiniLM-L6-v2 --blocks 3-5 --blocks 1,3,5
    """
    from ..bench.training import Setting, measure_steps, table_of
    from ..conversion.training.blocks import read_blocks
    from ..model import resolve_model

    chosen = [(), *(read_blocks(one) for one in choices)]
    dropped = () if drop_tokens is None else read_blocks(drop_tokens, "--drop-tokens")
    model, setting = resolve_model(directory), Setting(drop_tokens=dropped, **options)
    with opened_output(json_file) as rows_file:
        found = list(measure_steps(model, chosen, setting))
        _print(table_of(found, f"a step of fine-tuning {model.resolve().name}, of {setting.tokens:,} rows"))
        if rows_file is not None:
            rows_file.write(json.dumps([one.to_dict() for one in found], indent=2) + "\n")


@bench.command()
@click.argument("directories", metavar="MODEL...", nargs=-1, required=True)
@interleaved
def pareto(directories: tuple[str, ...], **options: Any) -> None:
    """Accuracy beside cost: models with cards, each measured with its own functions, on one page.

    Accuracies are the cards' (`freediv convert` writes them); `--chart` draws the page.

    \b
    Example:  freediv bench pareto demo student-a student-b --length 32 --chart pareto.svg
    """
    from ..bench.tables import accuracy_beside_cost
    from ..bench.variants import of_model
    from ..conversion.cards.card import own_accuracy, read_card
    from ..model import read_model, resolve_model

    chart = options.pop("chart")
    accuracies = {_name(d): own_accuracy(read_card(resolve_model(d))) for d in directories}
    if len(accuracies) < len(directories):
        raise UserError("two of the models have the same name; give each once, in folders of different names")
    architectures = [read_model(d).architecture for d in directories]
    if not all(one.padded for one in architectures):
        raise UserError("models that read images have lengths of their own; measure each with `freediv bench model`")
    for directory, architecture in zip(directories, architectures, strict=True):
        _check_length(options["length"], directory, architecture)
    variants = [of_model(_name(d), a) for d, a in zip(directories, architectures, strict=True)]
    require_distinct(options["json_file"], chart)
    with opened_chart(chart) as picture:
        measured = _run(architectures[0], variants, "accuracy beside cost", chart=None, **options)
        _print(accuracy_beside_cost(measured, accuracies))
        if picture is not None:
            from ..bench.chart import points

            points(measured, accuracies, picture)


@bench.command()
@click.option("--size", default="bert-base", show_default=True, help="Also bert-large, bert-tiny, minilm-l6.")
@click.option(
    "--part", type=click.Choice(["layer", "model"]), default="layer", show_default=True,
    help="One encoder layer, or a whole classifier: of bert-base in some 25 GB of memory.",
)  # fmt: skip
@click.option(
    "--card", "cards", multiple=True, metavar="MODEL",
    help="A directory, or a card that was put aside: rows with its functions have its accuracy; may be repeated.",
)  # fmt: skip
@click.option("--variants", help="Names, separated by commas.  [default: baseline, the paper's two, and ours]")
@interleaved
def claim(
    size: str, part: Literal["model", "layer"], cards: tuple[str, ...], variants: str | None, **options: Any
) -> None:
    """What the paper claims, measured again: a model's own functions in SPU, the paper's there, and ours.

    Liu et al. (2024) publish BERT-base on SST-2, 2.26 times faster at unchanged accuracy. Times, bytes and messages are
    of a layer or a model of that size with random weights, which change no cost; accuracies are those of the cards of
    models that were trained (`freediv finetune` and `convert` write them), each in the row of its functions. A
    teacher's is that of every row whose functions need no training.

    \b
    Examples: freediv bench claim --card teacher --card student
              freediv bench claim --part model --repeats 1 --chart claim.svg
    """
    from ..bench.claim import VARIANTS, beside
    from ..bench.presets import encoder
    from ..bench.variants import choose

    whole, title = encoder(size), size
    _check_length(options["length"], size, whole)
    chosen = choose(variants or VARIANTS)
    found = beside(chosen, cards)
    if part == "layer":
        own = {name: getattr(whole, name) for name in ("hidden", "heads", "intermediate")}
        whole = _architecture(layers=1, positions=options["length"], **_OF_LAYERS, **own)
        title = f"one encoder layer of {size}"
    _run(whole, chosen, title, part=part, beside=found, **options)


def _name(directory: str) -> str:
    return Path(directory).resolve().name if Path(directory).is_dir() else directory


def _check_length(length: int, directory: str, architecture: Architecture) -> None:
    if length > architecture.positions:
        raise UserError(f"--length {length}: {directory} has {architecture.positions} positions")


def _architecture(**fields: Any) -> Architecture:
    from pydantic import ValidationError

    from ..model import Architecture, LayerFunctions

    fields |= {"functions": (LayerFunctions(),) * fields["layers"], "label_names": ("negative", "positive")}
    try:
        return Architecture(embedding_size=fields["hidden"], **fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{'.'.join(str(part) for part in first['loc']) or 'heads'}: {first['msg']}") from None


def _run(
    architecture: Architecture,
    variants: Sequence[Variant],
    title: str,
    *,
    part: Literal["model", "layer", "embedding"] = "model",
    length: int,
    batch: int,
    protocol: Protocol,
    repeats: int,
    threads: int,
    products: Products | Literal["as-published"],
    lanes: str,
    network: str,
    bandwidth: float | None,
    rtt: float | None,
    json_file: Path | None,
    chart: Path | None,
    beside: Mapping[str, Beside] | None = None,
) -> list[Measurement]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from ..bench import tables
    from ..bench.measure import Setting, measure
    from ..bench.network import shaped
    from ..bench.variants import in_lanes, on_engine
    from ..terminal import console

    setting = Setting(architecture, length, batch, protocol, threads, part)
    if products != "as-published":
        variants = on_engine(variants, products)
    if protocol != "ABY3" and any(v.products == "shares" for v in variants):
        raise UserError(f"--protocol {protocol}: products on shares need ABY3; add --products spu")
    variants = in_lanes(variants, lanes_of(lanes, batch))
    shapes = networks_of(network, bandwidth, rtt)
    title = f"{title}, {length} {'word pieces' if architecture.padded else 'rows'}, batch {batch}, {protocol}"
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    require_distinct(json_file, chart)
    with opened_output(json_file) as rows_file, opened_chart(chart) as picture:
        with Progress(*columns, console=console(stderr=True)) as progress:
            task = progress.add_task("starting")

            def advance(what: str) -> None:
                progress.update(task, description=what)

            measured = measure(setting, variants, repeats, advance=advance)
            over = [(n, measure(setting, variants, repeats, link=shaped(n), advance=advance)) for n in shapes]
        costs = tables.costs(measured, title, part) if beside is None else tables.claim(measured, beside, title)
        _print(costs)
        for shape, found in over:
            _print(tables.shaped(measured, found, shape))
        if rows_file is not None:
            networks = [("loopback", measured), *((shape.name, found) for shape, found in over)]
            rows = [m.to_dict() | {"of": title, "network": name} for name, found in networks for m in found]
            if beside is not None:
                rows = [row | beside[str(row["variant"]).partition(",")[0]].to_dict() for row in rows]
            rows_file.write(json.dumps(rows, indent=2) + "\n")
        if picture is not None:
            from ..bench import chart as charts

            if beside is None:
                charts.bars(measured, title, picture)
            else:
                charts.claim(measured, beside, title, picture)
    return measured


def _print(table: Table) -> None:
    """Whole, however narrow the terminal: a cut number is none."""
    from ..terminal import console

    wide, out = console(), console()
    wide.width = _WIDEST  # a console measures no wider than itself
    out.width = max(out.width, wide.measure(table).maximum)
    out.print(table)
