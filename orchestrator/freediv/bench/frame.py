"""Ways to run a Transformer privately, in the frame of a survey: what is trusted, how it is computed, what it costs.

The columns are those of Li et al. 2025, "Private Transformer Inference in MLaaS" (arXiv 2505.10315). What is said of a
variant or a model comes from the functions, the settings and the engine that it runs with; what it costs from rows that
`bench` wrote, how good it is from its card; what is published stands beside, as what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..conversion.cards.card import own_accuracy, read_card
from ..conversion.cards.comparing import read_result
from ..conversion.student.recipe import read_recipe
from ..model import Architecture, LayerFunctions, read_model, resolve_model
from ..model.functions.activation import ACTIVATIONS
from ..model.functions.attention import ATTENTIONS
from ..model.functions.norms import NORMALISATIONS
from ..model.functions.origin import Origin
from ..model.thinness import thinness
from ..mpc.sharing.settings import Products, ProtocolSettings
from .network import NETWORKS
from .peers import PUBLISHED, Published
from .rows import read_written
from .variants import VARIANTS, Variant

_LINEAR: Mapping[Products, str] = {
    "spu": "replicated sharing, SPU's products",
    "spu-blocks": "replicated sharing, all heads in one of SPU's products",
    "shares": "replicated sharing, products on shares",
}


@dataclass(frozen=True)
class Way:
    """One way to run a model; None where nobody has measured or said it.

    Attributes:
        name: of a variant, a recipe, a model or a system.
        by: who says what it costs: measured here, a card, or a publication.
        parties: how many compute, and who else takes part.
        trust: what is assumed of them, and how many may be corrupt.
        public: what everybody may know.
        linear: technique of matrix products.
        attention, activation, normalisation: techniques, with their sources.
        thinner: what layers have less of than the model as it was published; empty: nothing.
        retraining: whether a trained model has to be trained again for it.
        fraction_bits: of a fixed-point number.
        of: what the costs are of.
        sent_bytes, messages: of one party.
        seconds: by network; loopback among them.
        accuracy: with its interval, by a card.
        headroom_bits: between the largest value seen and the ring's edge, by a card.
    """

    name: str
    by: str
    parties: str
    trust: str
    public: str | None
    linear: str
    attention: str | None
    activation: str | None
    normalisation: str | None
    thinner: str | None
    retraining: bool | None
    fraction_bits: int | None
    of: str | None = None
    sent_bytes: float | None = None
    messages: float | None = None
    seconds: Mapping[str, float] | None = None
    accuracy: str | None = None
    headroom_bits: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """One object of `--json`."""
        return asdict(self)


def way(
    name: str,
    functions: Iterable[LayerFunctions],
    products: Products = "shares",
    embedding: str = "",
    thinner: str = "",
) -> Way:
    """What the code knows of functions that run under the default protocol.

    Args:
        name: of whoever has them.
        functions: of all layers.
        products: the engine that multiplies matrices.
        embedding: `public` where the word table is published.
        thinner: what layers have less of.
    """
    layers, settings = list(functions), ProtocolSettings()
    attention = [ATTENTIONS[one.attention].origin for one in layers]
    activation = [ACTIVATIONS[one.activation].origin for one in layers]
    norms = [NORMALISATIONS[norm].origin for one in layers for norm in (one.attention_norm, one.feed_forward_norm)]
    return Way(
        name,
        "not measured",
        str(settings.parties),
        "semi-honest, one corrupt",
        "architecture, padded lengths" + (", word table" if embedding == "public" else ""),
        _LINEAR[products],
        _told(attention),
        _told(activation),
        _told(norms),
        thinner,
        bool(thinner) or any(one.retrained for one in (*attention, *activation, *norms)),
        settings.fraction_bits,
    )


def of_variants(rows: Sequence[Mapping[str, Any]]) -> list[Way]:
    """Every variant of `bench` that names its functions, with what it cost by `rows` that `bench --json` wrote."""
    return [
        measured(way(variant.name, [variant.functions], variant.products, thinner=_thinner(variant)), rows)
        for variant in VARIANTS.values()
        if variant.functions is not None
    ]


def of_models(given: Sequence[Path], rows: Sequence[Mapping[str, Any]]) -> list[Way]:
    """Models and recipes, with what cards say of them, or `rows` that `bench --json` wrote.

    Args:
        given: directories, recipes (.yaml), and cards that were put aside (.md), each for the recipe of its name.
        rows: of variants that are named like these.

    Raises:
        UserError: one is none of these; names it.
    """
    aside = {path.stem: path for path in given if path.suffix == ".md"}
    found = []
    for path in given:
        if path.suffix == ".md":
            continue
        if path.suffix in (".yaml", ".yml"):
            recipe = read_recipe(path)
            own = way(recipe.name, recipe.all_functions(), thinner=recipe.thinness())
            card = aside.get(recipe.name)
        else:
            directory = resolve_model(path)
            architecture = read_model(directory).architecture
            name, embedding = directory.resolve().name, architecture.embedding
            own = way(name, architecture.functions, embedding=embedding, thinner=thinness(architecture))
            card = directory
        found.append(measured(own if card is None else _by_card(own, card), rows))
    return found


def _thinner(variant: Variant) -> str:
    """What its layers have less of, in a model of BERT-base's sizes."""
    if variant.thinned is None:
        return ""
    a = Architecture(
        vocabulary=1, embedding_size=768, hidden=768, layers=12, heads=12, intermediate=3072, positions=512,
        label_names=("no", "yes"), functions=(LayerFunctions(),) * 12,
    )  # fmt: skip
    return thinness(a.model_copy(update={"sizes": variant.thinned(a)}))


def _by_card(own: Way, model: Path) -> Way:
    told = read_result(own.name, model)
    own = replace(own, accuracy=str(own_accuracy(read_card(model))), headroom_bits=told.headroom_bits)
    if told.layer_megabytes is None:
        return own
    about = f"one of its layers, {told.length} word pieces"
    return replace(own, by="its card", of=about, sent_bytes=told.layer_megabytes * 1e6, messages=told.layer_messages)


def measured(own: Way, rows: Sequence[Mapping[str, Any]]) -> Way:
    """A way with what `bench` measured of its name."""
    here = {row["network"]: row for row in rows if row["variant"] == own.name}
    if "loopback" not in here:
        return own
    first = here["loopback"]
    return replace(
        own,
        by="measured here",
        of=first["of"],
        sent_bytes=first["sent_bytes"],
        messages=first["messages"],
        seconds={network: row["seconds"] for network, row in here.items()},
    )


def of_peers() -> list[Way]:
    """What others publish."""
    return [_of_peer(one) for one in PUBLISHED]


def _of_peer(one: Published) -> Way:
    seconds = {name: s for name, s in (("lan", one.lan_seconds), ("wan", one.wan_seconds)) if s is not None}
    about = "12 layers, 768 wide, 128 word pieces"
    gigabytes = None if one.gigabytes is None else one.gigabytes * 1e9
    by = f"{one.source}; on {one.hardware}"
    own = Way(one.name, by, one.parties, one.trust, None, one.linear, None, None, None, None, None, None, about)
    return replace(own, sent_bytes=gigabytes, messages=one.rounds, seconds=seconds)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows that `freediv bench ... --json` wrote.

    Raises:
        UserError: the file is none of these.
    """

    def parse(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "variant": str(row["variant"]), "network": str(row["network"]), "of": str(row["of"]),
                "sent_bytes": float(row["sent_bytes"]), "messages": float(row["messages"]),
                "seconds": float(row["seconds"]),
            }
            for row in rows
        ]  # fmt: skip

    return read_written(path, parse, f"holds no rows of a benchmark; `freediv bench layer --json {path}` writes them")


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "What is trusted": ("parties", "trust", "public", "matrix products", "fraction bits"),
    "How functions are computed": ("attention", "activation", "normalisation", "thinner layers", "retraining"),
    "What it costs, and keeps": (
        "of",
        "MB",
        "messages",
        *(f"s, {n}" for n in ("loopback", *NETWORKS)),
        "accuracy",
        "headroom",
        "by",
    ),
}
"""Tables, and under which columns; before each row its name."""


def cells(own: Way) -> dict[str, list[str]]:
    """A way's cells of each table; `-` is what nobody has measured or said.

    Of parties here MB and messages are one's; published ones are all parties' together, and rounds.
    """
    seconds = own.seconds or {}
    trusted, computed, costs = COLUMNS
    return {
        trusted: [own.parties, own.trust, own.public or "-", own.linear, _or_dash(own.fraction_bits, "d")],
        computed: [
            own.attention or "-", own.activation or "-", own.normalisation or "-",
            "-" if own.thinner is None else own.thinner or "no",
            "-" if own.retraining is None else "yes" if own.retraining else "no",
        ],
        costs: [
            own.of or "-",
            "-" if own.sent_bytes is None else f"{own.sent_bytes / 1e6:,.1f}",
            _or_dash(own.messages, ",.0f"),
            *(_or_dash(seconds.get(network), ",.2f") for network in ("loopback", *NETWORKS)),
            own.accuracy or "-",
            "-" if own.headroom_bits is None else f"{own.headroom_bits:.1f} bits",
            own.by,
        ],
    }  # fmt: skip


def _told(origins: Iterable[Origin]) -> str:
    return "; ".join(dict.fromkeys(f"{one.technique} ({one.source})" for one in origins))


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
