"""The model as a list of named stages, each a pure function of (parameters, activations).

The same functions are trained, evaluated and compiled for a secure run. A stage runs *unfolded* (as trained: constants
are applied where their formula has them) or *folded* (constants moved into weights by `folding`); `folded` only decides
which parameters it finds.

Activations, by name: `one_hot` [batch, length, vocabulary] or `rows` [batch, length, embedding_size], `hidden`
[batch, length, hidden], `mask` [batch, length] (1 for real word pieces), `mask_over_length` [batch, length] (mask over
the number of real pieces), `mask_over_window` [batch, length] (over that of a window, if that is less), `segment`
[batch, length] (1 for those of a pair's second text), `pooling.n` [batch, rows] (what each row counts in the mean that
the n-th pooling makes of it), `mask.n` and `mask_over_length.n` [batch, rows left] (of those), `logits` [batch, ...],
of the shape that the model's kind of answer gives them (`answers`); where rows have `limits`, those have names of their
own, and folded logits come with what tells whether all were kept; as they do where pixels have ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ..later import Array, jnp
from .answers import answer_of
from .architecture import Architecture
from .blocks import Embedding, blocks_of
from .functions.norms import Observe, ignore
from .limits import apart, with_limits, within_limits
from .masks import made_of_mask
from .pieces.pairs import second_text
from .pixel_ranges import with_pixels_compared
from .stage import Dropout, Shape, Stage, keep
from .thinness import require_all_rows

if TYPE_CHECKING:
    from jax.typing import ArrayLike

Result = TypeVar("Result")


def stages(architecture: Architecture, *, folded: bool = False) -> tuple[Stage, ...]:
    """All stages of a model, in the order in which they run.

    Raises:
        UserError: they are to be folded, and the model is one for plaintext alone.
    """
    if folded:
        require_all_rows(architecture)
    found = [block.stage(folded) for block in blocks_of(architecture)]
    if not folded or not architecture.compares:
        return tuple(found)
    patches = architecture.patches
    return tuple(with_limits(architecture, found) if patches is None else with_pixels_compared(patches, found))


def parameter_shapes(architecture: Architecture, *, folded: bool = False) -> dict[str, dict[str, Shape]]:
    """The shape of every parameter, by stage and name."""
    return {stage.name: dict(stage.parameter_shapes) for stage in stages(architecture, folded=folded)}


def hidden_states(
    architecture: Architecture,
    parameters: Mapping[str, Mapping[str, ArrayLike]],
    inputs: Mapping[str, ArrayLike],
    *,
    folded: bool = False,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> tuple[list[Array], Array]:
    """Run the model and keep what lies between its layers.

    Args:
        architecture: the model.
        parameters: unfolded, or folded where `folded` is set.
        inputs: activations by name. `token_ids` [batch, length] may stand for `one_hot`, `rows` and `segment`: the
            table is then indexed, which gives the same numbers. What is made of `mask` may be left out where that is
            given.
        folded: which form the parameters have.
        dropout: called at the places where BERT drops.
        observe: called with values that calibration and range checks need, named `<stage>/<what>`.

    Returns:
        Hidden states [batch, length, hidden] after the embedding and after each layer, where that pools in fewer rows
        from there on, and logits [batch, ...].
    """
    values = made_of_inputs(architecture, inputs)
    states: list[Array] = []
    for stage in stages(architecture, folded=folded):
        drop, see = _within(stage.name, dropout), _within(stage.name, observe)
        own = parameters[stage.name]
        result = run_stage(architecture, stage, own, values, folded=folded, dropout=drop, observe=see)
        if stage.block == "classifier":
            result, compared = apart(result, answer_of(architecture).logits_shape(architecture, states[-1].shape[1]))
            see("compared", compared)
        see("output", result)
        values[stage.output] = result
        if stage.block in ("embedding", "feed_forward"):
            states.append(result)
        elif stage.block == "pooling":
            states[-1] = result
    return states, values["logits"]


def made_of_inputs(architecture: Architecture, inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The activations that a model's first stages read, by name; what is made of `mask` unless it is given."""
    values: dict[str, Array] = {name: jnp.asarray(value) for name, value in inputs.items()}
    if "mask" in values:
        values = made_of_mask(architecture, values["mask"]) | values
    if "token_ids" in values and architecture.separator_token is not None:
        values["segment"] = second_text(values["token_ids"], architecture.separator_token).astype(jnp.float32)
    return values


def run_stage(
    architecture: Architecture,
    stage: Stage,
    parameters: Mapping[str, ArrayLike],
    values: Mapping[str, Array],
    *,
    folded: bool = False,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    """What one of the model's stages makes of activations by name, among which `token_ids` may stand for words."""
    own = {name: jnp.asarray(value) for name, value in parameters.items()}
    if stage.block != "embedding" or "token_ids" not in values:
        return stage.apply(own, *(values[name] for name in stage.inputs), dropout=dropout, observe=observe)
    embedding = blocks_of(architecture)[0]
    assert isinstance(embedding, Embedding)
    rows = own["word"][values["token_ids"]]
    others = (values[name] for name in stage.inputs[1:])
    return embedding.of_rows(folded, own, rows, *others, dropout=dropout, observe=observe)


def forward(
    architecture: Architecture,
    parameters: Mapping[str, Mapping[str, ArrayLike]],
    inputs: Mapping[str, ArrayLike],
    *,
    folded: bool = False,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    """Logits [batch, ...]; arguments as for `hidden_states`."""
    return hidden_states(architecture, parameters, inputs, folded=folded, dropout=dropout, observe=observe)[1]


def answer(
    architecture: Architecture,
    folded: Mapping[str, Mapping[str, ArrayLike]],
    inputs: Mapping[str, ArrayLike],
    observe: Observe = ignore,
) -> tuple[Array, Array]:
    """What a secure run makes of folded parameters: logits [batch, ...], and whether all rows that count kept their
    limits, and all pixels their ranges [batch]; where there are none, they did.
    """
    seen: dict[str, Array] = {}

    def see(name: str, value: Array) -> None:
        if name == "classifier/compared":
            seen[name] = value
        else:
            observe(name, value)

    logits = forward(architecture, folded, inputs, folded=True, observe=see)
    if not architecture.compares:
        return logits, jnp.ones(len(logits), bool)
    return logits, within_limits(architecture, seen["classifier/compared"])


def _within(stage: str, call: Callable[[str, Array], Result]) -> Callable[[str, Array], Result]:
    return lambda name, value: call(f"{stage}/{name}", value)
