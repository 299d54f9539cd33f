"""What is compared: peers' functions as they would run them, the paper's, ours, and the floor; embeddings; models.

The sources of the formulas stand with the functions, in `model.functions`. Every
variant is compiled with the denominator option, and folded alike: scales into weights, and what centres a norm's rows
too, which in SPU costs two messages a layer more than its own mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UserError
from ..model import Architecture, LayerFunctions, LayerSizes
from ..model.functions.patches import Patches
from ..model.functions.pooling import Pool
from ..mpc.sharing.settings import Lookup, Products


@dataclass(frozen=True)
class Variant:
    """One row of a benchmark.

    Attributes:
        name: of the row.
        functions: of every layer; None: those that the architecture has.
        pooler: of the classifier, where functions are given.
        products: the engine that multiplies matrices.
        about: who stands for it.
        fields: fields of the architecture that are replaced, such as its sizes.
        lanes: parts that a batch is computed in side by side.
        in_shares: whether one-hots or rows are shared in any case, and no keys.
        thinned: makes the sizes of an architecture's layers, where they are to be thinner than it has them.
        checked: whether pixels are compared with ranges, of a model that reads images.
    """

    name: str
    functions: LayerFunctions | None
    pooler: str
    products: Products
    about: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    lanes: int = 1
    in_shares: bool = False
    thinned: Callable[[Architecture], tuple[LayerSizes, ...]] | None = None
    checked: bool = False

    @property
    def lookup(self) -> Lookup:
        """How word pieces get to the parties: as keys where products run on shares, as clusters have it."""
        return "points" if self.products == "shares" and not self.in_shares else "rows"

    def apply(self, architecture: Architecture) -> Architecture:
        """An architecture with this variant's functions and fields; what it does without, it does without."""
        changes: dict[str, Any] = {}
        if self.functions is not None:
            changes = {
                "functions": (self.functions,) * architecture.layers,
                "embedding_norm": "none" if architecture.embedding_norm == "none" else self.functions.attention_norm,
                "pooler": "none" if architecture.pooler == "none" else self.pooler,
                "row_limits": False,
            }
        if self.thinned is not None:
            changes["sizes"] = self.thinned(architecture)
        if self.checked:
            changes["patches"] = _compared(architecture)
        return architecture.model_copy(update=changes | dict(self.fields))


def pooled_twice(architecture: Architecture) -> tuple[LayerSizes, ...]:
    """After a sixth of the layers, and after half of them, pairs of rows become one."""
    last = {architecture.layers // 6 - 1, architecture.layers // 2 - 1}
    pool = Pool(rows=2)
    return tuple(LayerSizes(pool=pool if layer in last else None) for layer in range(architecture.layers))


def pooled_and_narrower(architecture: Architecture) -> tuple[LayerSizes, ...]:
    """As above; in the upper half of the layers half of the heads, and blocks half as wide."""
    half = {"heads": max(1, architecture.heads // 2), "intermediate": max(1, architecture.intermediate // 2)}
    return tuple(
        own.model_copy(update=half) if layer >= architecture.layers // 2 else own
        for layer, own in enumerate(pooled_twice(architecture))
    )


def _compared(architecture: Architecture) -> Patches:
    patches = architecture.patches
    if patches is None:
        raise UserError(
            "--variants: ours-checked is of pixels, and the model reads texts; give --preset of an image model"
        )
    return patches.model_copy(update={"ranges": ((-1.0, 1.0),) * patches.channels})


def _functions(attention: str, activation: str, norm: str = "layernorm") -> LayerFunctions:
    return LayerFunctions(attention=attention, activation=activation, attention_norm=norm, feed_forward_norm=norm)


ITSELF = Variant("itself", None, "tanh", "shares", "the functions that the model has")
"""A model's own functions."""

VARIANTS: dict[str, Variant] = {
    v.name: v
    for v in (
        ITSELF,
        replace(ITSELF, name="itself-rows", about="the same, asked by rows or one-hots, unchecked", in_shares=True),
        Variant("baseline", _functions("softmax", "gelu-tanh"), "tanh", "spu", "BERT as it is"),
        Variant("puma", _functions("softmax-puma", "gelu-puma"), "tanh", "spu", "PUMA"),
        Variant("mpcformer", _functions("2quad", "quad"), "tanh", "spu", "MPCFormer"),
        Variant("secformer", _functions("2quad-goldschmidt", "gelu-fourier"), "tanh", "spu", "SecFormer"),
        Variant(
            "paper-softmax-freediv", _functions("softmax-freediv", "quad"), "tanh", "spu", "Liu et al., reconstructed"
        ),
        Variant("paper-2quad-freediv", _functions("2quad-freediv", "quad"), "tanh", "spu", "Liu et al."),
        Variant("ours", _functions("2quad-freediv", "quad"), "identity", "shares", "exact norms"),
        Variant(
            "ours-minimal", _functions("2quad-freediv", "quad", "layernorm-constant"), "identity", "shares", "no root"
        ),
        Variant(
            "ours-limits",
            _functions("2quad-freediv", "quad", "layernorm-constant"),
            "identity",
            "shares",
            "no root, and rows that are compared with their limits at the end",
            {"row_limits": True},
        ),
        Variant(
            "ours-pooled",
            _functions("2quad-freediv", "quad"),
            "identity",
            "shares",
            "half of the rows after a sixth of the layers, a quarter after half of them",
            thinned=pooled_twice,
        ),
        Variant(
            "ours-thin",
            _functions("2quad-freediv", "quad"),
            "identity",
            "shares",
            "as ours-pooled, with half of the heads and neurons in the upper half",
            thinned=pooled_and_narrower,
        ),
        Variant(
            "ours-thin-limits",
            _functions("2quad-freediv", "quad", "layernorm-constant"),
            "identity",
            "shares",
            "as ours-thin, without roots, as ours-limits",
            {"row_limits": True},
            thinned=pooled_and_narrower,
        ),
        Variant(
            "ours-checked",
            _functions("2quad-freediv", "quad"),
            "identity",
            "shares",
            "of images, each pixel compared with its range at the end",
            checked=True,
        ),
        Variant("linear-only", _functions("none", "none", "none"), "identity", "spu", "no non-linear function"),
    )
}


def embeddings(factorised_to: int, cut_to: int) -> list[Variant]:
    """Ways to look words up: a secret table in SPU, on shares, by keys, factorised, with fewer words as well; a public
    table.
    """

    def variant(
        name: str, about: str, products: Products = "shares", *, in_shares: bool = False, **fields: int | str
    ) -> Variant:
        return Variant(name, None, "identity", products, about, fields, in_shares=in_shares)

    return [
        variant("secret, in SPU", "one-hot rows times the table", "spu"),
        variant("secret, one-hots", "the same on shares", in_shares=True),
        variant("secret", "keys of point functions, checked"),
        variant(f"secret, {factorised_to} wide", "table and projection", embedding_size=factorised_to),
        variant(
            f"secret, {factorised_to} wide, {cut_to} words", "of a published token list",
            embedding_size=factorised_to, vocabulary=cut_to,
        ),
        variant("public, rows", "the data owner looks up", in_shares=True, embedding="public"),
        variant("public", "keys for one pair, checked", embedding="public"),
    ]  # fmt: skip


def of_model(name: str, architecture: Architecture) -> Variant:
    """A model as it is, beside models of other sizes."""
    fields = {field: getattr(architecture, field) for field in Architecture.model_fields}
    return Variant(name, None, "identity", "shares", "a model", fields)


def choose(names: str, products: Products | None = None) -> list[Variant]:
    """Variants by name, separated by commas; `products` puts all of them on one engine.

    Raises:
        UserError: a name is not known.
    """
    chosen: list[Variant] = []
    for name in names.split(","):
        if name not in VARIANTS:
            raise UserError(f"--variants: there is no {name!r}; known: {', '.join(VARIANTS)}")
        chosen.append(VARIANTS[name])
    return on_engine(chosen, products) if products else chosen


def on_engine(variants: Sequence[Variant], products: Products) -> list[Variant]:
    """The same functions, with matrices multiplied by one engine for all."""
    return [replace(variant, products=products) for variant in variants]


def in_lanes(variants: Sequence[Variant], counts: Sequence[int]) -> list[Variant]:
    """Each variant once for every number of lanes; SPU's engine knows only one."""
    return [
        replace(v, lanes=count, name=f"{v.name}, {count} lanes" if count > 1 else v.name)
        for v in variants
        for count in counts
        if count == 1 or v.products == "shares"
    ]
