"""Models on disk: Hugging Face directories, read and written.

A directory holds config.json, model.safetensors and tokenizer.json. What Hugging Face's models do not know (functions
per layer, the embedding's rank and whether it is public, measured headroom) stands under `freediv` in config.json, and
its constants beside the weights. A plain BERT or MPNet directory reads as what it is: softmax, GELU, LayerNorm.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import UserError
from . import hub
from .activation import ACTIVATIONS
from .architecture import Architecture, LayerFunctions
from .attention import ATTENTIONS
from .families import FAMILIES, family, names_of, other_names, to_hugging_face
from .normalisation import NORMALISATIONS
from .stages import parameter_shapes
from .storage import Weights, restore, store

NumpyParameters = dict[str, dict[str, np.ndarray]]

MODELS = Path(__file__).parent.parent / "models"
"""Where the models that come with the package lie."""

_ACTIVATION_NAMES = {"gelu": "gelu", "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh", "relu": "relu"}
_MOST_LABELS = 1024  # as `Architecture` has it
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


class Certificate(BaseModel):
    """What was measured of a converted model, beside its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    headroom_bits: float | None = None
    """Bits between the largest intermediate seen and the edge of the ring (FM64, 18 fraction bits)."""


@dataclass(frozen=True)
class Model:
    """A classifier: its public architecture, its unfolded parameters, and where it was read from.

    `plain`: read from a directory that freediv did not write, which does not say whether the model reads pairs.
    """

    architecture: Architecture
    parameters: NumpyParameters
    directory: Path | None = None
    certificate: Certificate = field(default_factory=Certificate)
    plain: bool = False

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
    if not (path / "config.json").is_file():
        known = ", ".join(sorted(p.name for p in MODELS.glob("*") if (p / "config.json").is_file())) or "none"
        raise UserError(
            f"{path}: not a model directory (it has no config.json); models that come with freediv: {known}"
        )
    return path


def read_model(name: str | Path) -> Model:
    """Read a classifier.

    Raises:
        UserError: a file is missing, the architecture is another, or a parameter is missing or of another shape.
    """
    directory = resolve_model(name)
    config = _read_config(directory)
    architecture, certificate = _architecture(directory, config)
    tensors = _read_tensors(directory, config["model_type"])
    (head,), _ = names_of(architecture, "classifier", "weight")
    if head not in tensors:
        raise UserError(f"{directory}: the model has no classifier; make one with `freediv finetune`")
    if architecture.pooler == "tanh" and not _has_pooler(tensors):
        architecture = architecture.model_copy(update={"pooler": "none"})
    parameters = _collect(directory, architecture, tensors)
    return Model(architecture, parameters, directory, certificate, plain="freediv" not in config)


def read_pretrained(name: str | Path, label_names: tuple[str, ...], seed: int = 0) -> Model:
    """Read an encoder and give it a new classifier (and a pooler if it has none), for fine-tuning.

    The new weights are normal with standard deviation 0.02, as BERT's are (Devlin et al. 2019).
    """
    directory = resolve_model(name)
    config = _read_config(directory)
    config["id2label"] = {str(i): label for i, label in enumerate(label_names)}
    architecture, certificate = _architecture(directory, config)
    tensors = {
        k: v for k, v in _read_tensors(directory, config["model_type"]).items() if not k.startswith("classifier.")
    }
    random = np.random.default_rng(seed)
    kept = ("pooler.weight", "pooler.bias") if _has_pooler(tensors) else ()
    for parameter, shape in parameter_shapes(architecture)["classifier"].items():
        if parameter in kept:
            continue
        values = random.normal(0.0, 0.02, shape) if len(shape) > 1 else np.zeros(shape)
        tensors |= to_hugging_face(architecture, "classifier", parameter, values.astype(np.float32))
    return Model(architecture, _collect(directory, architecture, tensors), directory, certificate)


def write_model(model: Model, directory: Path, *, weights: Weights = "float32", tokenizer: Path | None = None) -> None:
    """Write a Hugging Face directory: config.json, model.safetensors, and the tokenizer copied from `tokenizer`.

    Args:
        model: what to write.
        directory: created if it is not there.
        weights: how the file holds them; `as_stored` says what is left of them.
        tokenizer: a directory with tokenizer.json; by default the one that the model was read from.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = store(_tensors(model), weights)
    (directory / "config.json").write_text(json.dumps(_config(model), indent=2) + "\n")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    source = tokenizer or model.directory
    if source is not None and source.resolve() != directory.resolve():
        for file in _TOKENIZER_FILES:
            if (source / file).is_file():
                shutil.copyfile(source / file, directory / file)


def as_stored(model: Model, weights: Weights) -> Model:
    """The model as it reads back from a file that holds its weights so."""
    tensors = restore(store(_tensors(model), weights))
    return replace(model, parameters=_collect(Path(), model.architecture, tensors))


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
    found: dict[str, np.ndarray] = {}

    def norm(name: str) -> None:
        for constant, value in NORMALISATIONS[name].constants.items():
            found[f"norm.{constant}"] = np.asarray(value, np.float32)

    if stage == "embedding":
        norm(architecture.embedding_norm)
    elif stage == "classifier" and architecture.row_limits:
        found["limits"] = np.ones(sum(architecture.limited), np.float32)
    elif stage.startswith("encoder."):
        functions = architecture.functions[int(stage.split(".")[1])]
        if stage.endswith("attention"):
            for constant, value in ATTENTIONS[functions.attention].constants.items():
                found[f"constants.{constant}"] = np.full(architecture.heads, value, np.float32)
            norm(functions.attention_norm)
        else:
            for constant, value in ACTIVATIONS[functions.activation].constants.items():
                found[f"constants.{constant}"] = np.asarray(value, np.float32)
            norm(functions.feed_forward_norm)
    return found


def convert_functions(model: Model, **changes: Any) -> Model:
    """The same parameters under other functions (fields of `Architecture`), new constants at their initial values.

    Parameters that the new architecture lacks are left out; those of another shape are refused.
    """
    architecture = Architecture(**{**model.architecture.model_dump(), **changes})
    parameters: NumpyParameters = {}
    for stage, shapes in parameter_shapes(architecture).items():
        known = initial_constants(architecture, stage) | model.parameters[stage]
        missing = [name for name in shapes if name not in known or np.shape(known[name]) != shapes[name]]
        if missing:
            raise ValueError(f"{stage}: {', '.join(missing)} cannot be taken over from the model")
        parameters[stage] = {name: known[name] for name in shapes}
    return replace(model, architecture=architecture, parameters=parameters)


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{directory / 'config.json'}: cannot be read as JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{directory / 'config.json'}: not a JSON object")
    return config


def _architecture(directory: Path, config: dict[str, Any]) -> tuple[Architecture, Certificate]:
    where = directory / "config.json"
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        known = " and ".join(repr(name) for name in FAMILIES)
        raise UserError(f"{where}: model_type is {family!r}; freediv reads {known}")
    kind = FAMILIES[family]
    activation = config.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATION_NAMES:
        raise UserError(f"{where}: hidden_act {activation!r} is not known; known: {', '.join(_ACTIVATION_NAMES)}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(f"{where}: position_embedding_type is not 'absolute', the only one that freediv reads")
    try:
        own = dict(config.get("freediv", {}))
        certificate = Certificate(headroom_bits=own.pop("headroom_bits", None))
        unnamed = min(int(config.get("num_labels", 2)), _MOST_LABELS + 1)
        labels = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(unnamed)}
        layers = int(config["num_hidden_layers"])
        plain = LayerFunctions(activation=_ACTIVATION_NAMES[activation]).model_dump()
        fields = {
            "vocabulary": config["vocab_size"],
            "embedding_size": config["hidden_size"],
            "hidden": config["hidden_size"],
            "layers": layers,
            "heads": config["num_attention_heads"],
            "intermediate": config["intermediate_size"],
            "positions": config["max_position_embeddings"] - kind.first_position,
            "token_types": config.get("type_vocab_size", kind.token_types),
            "relative_buckets": config.get("relative_attention_num_buckets", 32) if kind.relative else 0,
            "norm_epsilon": config.get("layer_norm_eps", 1e-12),
            "label_names": tuple(str(labels[key]) for key in sorted(labels, key=int)),
            "pad_token": config.get("pad_token_id") or 0,
            "functions": [plain] * max(0, min(layers, 128)),
        }
        return Architecture(**{**fields, **own}), certificate
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "model"
        raise UserError(f"{where}: {key}: {first['msg']}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{where}: {error}") from None


def _config(model: Model) -> dict[str, Any]:
    a = model.architecture
    activations = {f.activation for f in a.functions}
    hidden_act = (
        {"gelu-tanh": "gelu_new", "relu": "relu"}.get(next(iter(activations)), "gelu")
        if len(activations) == 1
        else "gelu"
    )
    kind = family(a)
    config: dict[str, Any] = {
        "architectures": [kind.classifier],
        "model_type": kind.name,
        "vocab_size": a.vocabulary,
        "hidden_size": a.hidden,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "intermediate_size": a.intermediate,
        "max_position_embeddings": a.positions + kind.first_position,
        **({"relative_attention_num_buckets": a.relative_buckets} if kind.relative else {}),
        "type_vocab_size": a.token_types,
        "layer_norm_eps": a.norm_epsilon,
        "pad_token_id": a.pad_token,
        "hidden_act": hidden_act,
        "id2label": {str(i): label for i, label in enumerate(a.label_names)},
        "label2id": {label: i for i, label in enumerate(a.label_names)},
    }
    beyond = {"embedding_size", "embedding", "embedding_norm", "pooler", "functions", "separator_token"}
    own = a.model_dump(include=beyond, mode="json", exclude_none=True) | ({"row_limits": True} if a.row_limits else {})
    return config | {"freediv": own | model.certificate.model_dump(exclude_none=True)}


def _tensors(model: Model) -> dict[str, np.ndarray]:
    """A model's parameters by their names in a file."""
    return {
        key: part
        for stage, own in model.parameters.items()
        for name, value in own.items()
        for key, part in to_hugging_face(model.architecture, stage, name, np.asarray(value)).items()
    }


def _read_tensors(directory: Path, model_type: str) -> dict[str, np.ndarray]:
    path = directory / "model.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: not there; freediv reads weights as safetensors")
    try:
        tensors = restore(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from None
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: holds a number type that numpy lacks ({error}); save it as float32 or float16"
        ) from None
    outside = ("classifier.", "freediv.", *(f"{name}." for name in FAMILIES))
    return {k if k.startswith(outside) else f"{model_type}.{k}": v for k, v in tensors.items()}


def _has_pooler(tensors: Mapping[str, np.ndarray]) -> bool:
    return any(name.endswith(("pooler.dense.weight", "classifier.dense.weight")) for name in tensors)


def _collect(directory: Path, architecture: Architecture, tensors: Mapping[str, np.ndarray]) -> NumpyParameters:
    where = directory / "model.safetensors"
    fetch = _fetcher(where, tensors)
    parameters: NumpyParameters = {}
    for stage, shapes in parameter_shapes(architecture).items():
        own = parameters[stage] = {}
        for name, shape in shapes.items():
            names, transposed = names_of(architecture, stage, name)
            parts = [fetch(key).T if transposed else fetch(key) for key in names]
            value = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
            if (stage, name) == ("embedding", "position"):
                value = value[family(architecture).first_position :]
            if value.shape != shape:
                raise UserError(
                    f"{where}: {names[0]} gives shape {list(value.shape)}, config.json asks for {list(shape)}"
                )
            own[name] = np.array(value, np.float32, order="C")
            if not np.isfinite(own[name]).all():
                raise UserError(f"{where}: {names[0]} holds a number that is not finite")
    return parameters


def _fetcher(where: Path, tensors: Mapping[str, np.ndarray]) -> Callable[[str], np.ndarray]:
    def fetch(key: str) -> np.ndarray:
        for name in (key, *other_names(key)):
            if name in tensors:
                return tensors[name]
        raise UserError(f"{where}: {key} is missing")

    return fetch
