"""Models on disk: Hugging Face directories, read and written.

A directory holds config.json, model.safetensors and tokenizer.json (of images, preprocessor_config.json). What Hugging
Face's models do not know (functions per layer, the embedding's rank and whether it is public, measured headroom) stands
under `freediv` in config.json, and its constants beside the weights. A plain BERT or MPNet directory reads as what it
is: softmax, GELU, LayerNorm.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.numpy import save_file

from ...errors import UserError
from ..answers import LABEL, VECTOR, Answer, answer_of
from ..architecture import Architecture, LayerFunctions
from ..blocks import blocks_of
from ..families import FAMILIES
from ..families.activation_names import activation_of, name_of
from ..families.heads import family_of, head_of
from ..file_content import read_beside
from ..functions.patches import Patches
from ..reading.images import ImageReader
from ..reading.processor import FILE
from ..reading.readers import has_reader, read_reader
from ..stages import parameter_shapes
from . import hub
from .certificate import Certificate
from .sentence_encoder import PLAIN, SentenceEncoder, read_sentence_encoder
from .storage import Weights, restore, store
from .tensors import NumpyParameters, collect, family_in, has_parameter, read_tensors, tensors_of

MODELS = Path(__file__).parents[2] / "models"
"""Where the models that come with the package lie."""

QUANTISED = "quantisation.json"
"""In a directory of what `freediv quantize` made, beside its weights."""

_MOST_LABELS = 1024  # as `Architecture` has it
_NUMBER = re.compile("0|[1-9][0-9]{0,6}")

_OF_HEADS = ("answer", "pooler", "pooler_norm", "pooling", "normalised", "thresholds")
"""Fields of `Architecture` that say how a model answers."""


@dataclass(frozen=True)
class Model:
    """A model: its public architecture, its unfolded parameters, and where it was read from.

    `plain`: read from a directory that freediv did not write, which does not say whether the model reads pairs.
    `gives_rows`: an encoder that says of its rows no more than that they are its answer; the pooling is then ours.
    """

    architecture: Architecture
    parameters: NumpyParameters
    directory: Path | None = None
    certificate: Certificate = field(default_factory=Certificate)
    plain: bool = False
    gives_rows: bool = False

    @property
    def public_table(self) -> np.ndarray | None:
        """The word table [vocabulary, embedding_size] where it is public, else None."""
        return self.parameters["embedding"]["word"] if self.architecture.embedding == "public" else None


def resolve_model(name: str | Path) -> Path:
    """The directory of a model: a path, the name of one that comes with the package (`demo`), or one on a hub
    (`hub:owner/name`), which is then fetched.

    Raises:
        UserError: neither a directory nor a shipped model, or it cannot be fetched.
    """
    path = Path(name)
    if str(name).startswith(hub.PREFIX):
        return hub.fetch_model(str(name))
    shipped = MODELS / str(name)
    if not path.exists() and len(path.parts) == 1 and (shipped / "config.json").is_file():
        return shipped
    if (path / QUANTISED).is_file():
        raise UserError(
            f"{path}: is quantised with integer functions, for `freediv evaluate` alone: under MPC their shifts and "
            "integer divisions cost far more than what students have; give the model that it was made from"
        )
    if not (path / "config.json").is_file():
        known = ", ".join(sorted(p.name for p in MODELS.glob("*") if (p / "config.json").is_file())) or "none"
        raise UserError(
            f"{path}: not a model directory (it has no config.json); models that come with freediv: {known}"
        )
    return path


def read_model(name: str | Path) -> Model:
    """Read a model.

    Raises:
        UserError: a file is missing, the architecture is another, the model answers something that is not among
            `ANSWERS`, or a parameter is missing or of another shape.
    """
    directory = resolve_model(name)
    config = _read_config(directory)
    plain, pooled = "freediv" not in config, read_sentence_encoder(directory)
    headless = not config.get("architectures")  # unless its weights have a head, it is an encoder
    answer = VECTOR if headless else head_of(config, directory / "config.json", pooled=pooled is not None)
    architecture, certificate = _architecture(directory, config, answer, pooled or PLAIN)
    architecture = _with_pixels(architecture, directory)
    tensors = read_tensors(directory, config, architecture)
    if headless and any(name.startswith(FAMILIES[architecture.family].heads) for name in tensors):
        head_of(config, directory / "config.json", pooled=pooled is not None)
    if answer.linear and not has_parameter(family_in(architecture), tensors, "weight"):
        raise UserError(f"{directory}: the model has no classifier; make one with `freediv finetune`")
    parameters = collect(directory, architecture, tensors)
    if pooled is not None and (longest := pooled.longest) is not None and longest < architecture.positions:
        architecture = architecture.model_copy(update={"positions": longest})
        parameters["embedding"] |= {k: v[:longest] for k, v in parameters["embedding"].items() if k == "position"}
    gives_rows = plain and not answer.linear and pooled is None
    return Model(architecture, parameters, directory, certificate, plain=plain, gives_rows=gives_rows)


def read_pretrained(name: str | Path, label_names: tuple[str, ...], seed: int = 0, answer: Answer = LABEL) -> Model:
    """Read an encoder and give it a new classifier of this kind (and a pooler if it has none), for fine-tuning.

    The new weights are normal with standard deviation 0.02, as BERT's are (Devlin et al. 2019). A model that freediv
    has fine-tuned for the same answer and labels keeps its classifier, and goes on from there.
    """
    directory = resolve_model(name)
    config = _read_config(directory)
    goes_on = _answers(config, label_names, answer)
    kind = family_of(config, directory / "config.json").headed(answer.ending)
    config["id2label"] = {str(i): label for i, label in enumerate(label_names)}
    own = config.get("freediv")
    if isinstance(own, dict) and own.get("answer", LABEL.name) != answer.name:  # its head is another's
        config["freediv"] = {name: value for name, value in own.items() if name not in _OF_HEADS}
    architecture, certificate = _architecture(directory, config, answer, read_sentence_encoder(directory) or PLAIN)
    architecture = _with_pixels(architecture, directory)
    found = read_tensors(directory, config, architecture, any_head=True)
    tensors = {name: value for name, value in found.items() if goes_on or not name.startswith(kind.heads)}
    shapes = parameter_shapes(architecture)
    encoder = collect(directory, architecture, tensors, shapes.keys() - {"classifier"})  # before anything is made
    random = np.random.default_rng(seed)
    kept = [name for name in shapes["classifier"] if has_parameter(kind, tensors, name)]
    for parameter, shape in shapes["classifier"].items():
        if parameter in kept:
            continue
        values = (
            random.normal(0.0, 0.02, shape) if len(shape) > 1 else np.full(shape, parameter.endswith("norm.weight"))
        )
        tensors |= kind.tensors_of(architecture, "classifier", parameter, values.astype(np.float32))
    parameters = encoder | collect(directory, architecture, tensors, {"classifier"})
    return Model(architecture, parameters, directory, certificate)


def _answers(config: dict[str, Any], label_names: tuple[str, ...], answer: Answer) -> bool:
    """Whether a config.json is that of a model that freediv made, which answers so, with these labels."""
    own, names = config.get("freediv"), config.get("id2label")
    if not isinstance(own, dict) or not isinstance(names, dict) or own.get("answer", LABEL.name) != answer.name:
        return False
    return names == {str(number): name for number, name in enumerate(label_names)}


def write_model(model: Model, directory: Path, *, weights: Weights = "float32", tokenizer: Path | None = None) -> None:
    """Write a Hugging Face directory: config.json, model.safetensors, and a tokenizer or image processor.

    Args:
        model: what to write.
        directory: created if it is not there.
        weights: how the file holds them; `as_stored` says what is left of them.
        tokenizer: a directory that has one; by default the one that the model was read from, if it has one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kind = FAMILIES[model.architecture.family]
    stored = store(tensors_of(model.architecture, model.parameters), weights)
    # Whole numbers are of matrices, whose rows have scales: these stay as they are.
    tensors = stored if weights == "int8" else kind.saved(model.architecture, stored)
    tensors = {name: np.array(value, order="C") for name, value in tensors.items()}
    (directory / "config.json").write_text(json.dumps(_config(model), indent=2) + "\n", encoding="utf-8")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    source = tokenizer or model.directory
    if source is not None and source.resolve() != directory.resolve() and has_reader(source):
        read_reader(source).write(directory, source)


def as_stored(model: Model, weights: Weights) -> Model:
    """The model as it reads back from a file that holds its weights so."""
    tensors = restore(store(tensors_of(model.architecture, model.parameters), weights))
    return replace(model, parameters=collect(Path(), model.architecture, tensors))


def initial_parameters(architecture: Architecture, seed: int = 0, scale: float = 0.02) -> NumpyParameters:
    """Random parameters (normal, standard deviation `scale`), norms at one and constants at their initial values."""
    random = np.random.default_rng(seed)
    parameters: NumpyParameters = {}
    for stage, shapes in parameter_shapes(architecture).items():
        own = parameters[stage] = initial_constants(architecture, stage)
        for name, shape in shapes.items():
            if name.endswith("norm.weight"):
                own[name] = np.ones(shape, np.float32)
            elif name not in own:
                own[name] = np.asarray(random.normal(0.0, scale, shape), np.float32)
    return parameters


def initial_constants(architecture: Architecture, stage: str) -> dict[str, np.ndarray]:
    """The constants of a stage's functions at their initial values, by parameter name."""
    return next(block for block in blocks_of(architecture) if block.name == stage).starts()


def convert_functions(model: Model, **changes: Any) -> Model:
    """The same parameters under other functions (fields of `Architecture`), new constants at their initial values.

    Parameters that the new architecture lacks are left out; those of another shape are refused.
    """
    architecture = Architecture(**{**model.architecture.model_dump(), **changes})
    parameters: NumpyParameters = {}
    for stage, shapes in parameter_shapes(architecture).items():
        known = initial_constants(architecture, stage) | model.parameters.get(stage, {})
        missing = [name for name in shapes if name not in known or np.shape(known[name]) != shapes[name]]
        if missing:
            raise ValueError(f"{stage}: {', '.join(missing)} cannot be taken over from the model")
        parameters[stage] = {name: known[name] for name in shapes}
    return replace(model, architecture=architecture, parameters=parameters)


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_beside(directory / "config.json"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{directory / 'config.json'}: cannot be read as JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{directory / 'config.json'}: not a JSON object")
    return config


def _architecture(
    directory: Path, config: dict[str, Any], answer: Answer, pooled: SentenceEncoder
) -> tuple[Architecture, Certificate]:
    where = directory / "config.json"
    kind = family_of(config, where).headed(answer.ending)
    config = kind.in_common_words(config)
    if config.get("quantization_config"):
        raise UserError(f"{where}: quantization_config: the weights are stored as integers; save them as float32")
    try:
        own = dict(config.get("freediv", {}))
        certificate = Certificate.model_validate(
            # Before these said what they were measured for, all were for the same.
            own.pop("certificate", None) or {"headroom_bits": own.pop("headroom_bits", None)}
        )
        unnamed = min(int(config.get("num_labels", 2)), _MOST_LABELS + 1)
        labels = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(unnamed)}
        pad_token = config.get("pad_token_id") or 0
        activation = activation_of(config.get("hidden_act", "gelu"), kind.calls.get("hidden_act", "hidden_act"))
        plain = LayerFunctions(activation=activation).model_dump()
        fields = {
            "family": kind.name,
            "vocabulary": config["vocab_size"],
            "embedding_size": config["hidden_size"],
            "hidden": config["hidden_size"],
            "layers": config["num_hidden_layers"],
            "heads": config["num_attention_heads"],
            "intermediate": config["intermediate_size"],
            "positions": config["max_position_embeddings"] - kind.first_position(pad_token),
            "norm_epsilon": config.get("layer_norm_eps", 1e-12),
            "answer": answer.name,
            "label_names": _label_names(labels, told_apart=kind.reads_images) if answer.linear else (),
            "pad_token": pad_token,
            "pooler": kind.pooler_of(config),
            **kind.fields(config),
            **({} if "pooler" in kind.classifier else {"pooler": "none", "pooler_norm": "none"}),
            **({} if answer.linear else pooled.fields()),
        }
        fields["functions"] = [plain | kind.functions(n) for n in range(max(0, min(int(fields["layers"]), 128)))]
        return Architecture(**{**fields, **own}), certificate
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "model"
        raise UserError(f"{where}: {key}: {first['msg']}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{where}: {error}") from None


def _with_pixels(architecture: Architecture, directory: Path) -> Architecture:
    """With the largest pixel that its image processor makes, if it has one.

    Raises:
        UserError: it makes images of another size.
    """
    patches = architecture.patches
    if patches is None or not has_reader(directory):
        return architecture
    reader = read_reader(directory)
    assert isinstance(reader, ImageReader)
    try:
        reader.processor.require_fitting(patches)
        seen = Patches(**{**patches.model_dump(), "largest_pixel": reader.processor.largest_pixel})
    except ValueError as error:
        raise UserError(f"{directory / FILE}: {error}") from None
    return architecture.model_copy(update={"patches": seen})


def _label_names(labels: object, *, told_apart: bool) -> tuple[str, ...]:
    """In the order of logits; those that are left out are called by their numbers, as transformers calls all that have
    no name. Where they are `told_apart`, those that are called the same have their numbers, too: of ImageNet's classes
    two are cranes.
    """
    if not isinstance(labels, dict) or not all(_NUMBER.fullmatch(str(i)) for i in labels):
        raise ValueError('id2label: give a name to each logit, as {"0": "...", "1": "..."}')
    if not all(isinstance(name, str | int) for name in labels.values()):
        raise ValueError("id2label: a name is no text")
    if any(int(i) >= _MOST_LABELS for i in labels):
        raise ValueError(f"id2label: more label_names than {_MOST_LABELS}")
    named = {int(i): str(name) for i, name in labels.items()}
    several = {name for name, count in Counter(named.values()).items() if told_apart and count > 1}
    named = {i: f"{name} ({i})" if name in several else name for i, name in named.items()}
    return tuple(named.get(i, f"LABEL_{i}") for i in range(max(named, default=-1) + 1))


def _config(model: Model) -> dict[str, Any]:
    a = model.architecture
    activations = {f.activation for f in a.functions}
    kind, answer = family_in(a), answer_of(a)
    config = {
        "architectures": [kind.classes_of(answer.ending)[a.pooling == "tokens"]],
        "model_type": kind.name,
        "vocab_size": a.vocabulary,
        "hidden_size": a.hidden,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "intermediate_size": a.intermediate,
        "max_position_embeddings": a.positions + kind.first_position(a.pad_token),
        **kind.keys(a),
        "layer_norm_eps": a.norm_epsilon,
        "pad_token_id": a.pad_token,
        "hidden_act": name_of(activations.pop()) if len(activations) == 1 else "gelu",
        "id2label": {str(i): label for i, label in enumerate(a.label_names)},
        "label2id": {label: i for i, label in enumerate(a.label_names)},
        "problem_type": answer.problem_type,
    }
    beyond = {"embedding_size", "embedding", "embedding_norm", "pooler", "pooler_norm", "functions", "separator_token"}
    beyond |= {"thresholds"} if a.thresholds else set()
    beyond |= {"pooling"} if a.patches is not None and a.pooling != "first" else set()
    beyond |= {"sizes"} if a.sizes else set()
    beyond |= set() if answer.linear else set(PLAIN.fields())
    own = a.model_dump(include=beyond, mode="json", exclude_none=True) | ({"row_limits": True} if a.row_limits else {})
    if model.certificate.headroom_bits is not None:
        own["certificate"] = model.certificate.model_dump()
    return kind.in_own_words(config) | {"freediv": own}
