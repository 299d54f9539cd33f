"""ViT: Dosovitskiy et al. 2021. Patches of an image in place of word pieces, a class token before them, norms first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..architecture import Architecture
from ..functions.patches import Patches
from .family import SEQUENCE, Config, Family, Tensors

_CLASS, _OF_BOTH = "ForImageClassification", "ForImageClassificationWithTeacher"
_HEADS = ("cls_classifier", "distillation_classifier")
_TOKENS = {"class": "cls_token", "distillation": "distillation_token"}


def image_family(name: str, prefix: str, tokens: tuple[str, ...]) -> Family:
    """A family of vision transformers, whose tensors and configurations are ViT's but for the tokens that it has."""
    embedding, layer = f"{name}.embeddings", f"{name}.encoder.layer.{{layer}}"
    projection, places = f"{embedding}.patch_embeddings.projection", f"{embedding}.position_embeddings"
    own = {token: f"{embedding}.{_TOKENS[token]}" for token in tokens}

    def completed(config: Config, tensors: Tensors) -> dict[str, np.ndarray]:
        """Tensors as tables and matrices: those of rows have no batch, a convolution's weights are a patch's, and the
        mean of two classifiers is one that reads two rows side by side.
        """
        found = dict(tensors)
        for key in (*own.values(), places):
            if key in found:
                rows = found.pop(key)
                found[f"{key}.weight"] = rows.reshape(rows.shape[-2:] if key == places else rows.shape[-1:])
        if all(f"{head}.{part}" in found for head in _HEADS for part in ("weight", "bias")):
            weights, biases = ([found.pop(f"{head}.{part}") / 2 for head in _HEADS] for part in ("weight", "bias"))
            found |= {"classifier.weight": np.concatenate(weights, axis=1), "classifier.bias": np.sum(biases, axis=0)}
        if (key := f"{projection}.weight") in found:
            found[key] = found[key].reshape(len(found[key]), -1)
        if not config.get("qkv_bias", True):
            for number in range(int(config["num_hidden_layers"])):
                parts = (f"{layer.format(layer=number)}.attention.attention.{part}.bias" for part in _QKV)
                found |= {key: np.zeros(int(config["hidden_size"]), np.float32) for key in parts if key not in found}
        return found

    def saved(architecture: Architecture, tensors: Tensors) -> dict[str, np.ndarray]:
        """The other way."""
        found, patches = dict(tensors), architecture.patches
        assert patches is not None
        for key in (*own.values(), places):
            found[key] = np.atleast_2d(found.pop(f"{key}.weight"))[None]
        if architecture.pooling == "tokens":
            weights, bias = np.split(2 * found.pop("classifier.weight"), 2, axis=1), found.pop("classifier.bias")
            found |= {f"{head}.weight": weight for head, weight in zip(_HEADS, weights, strict=True)}
            found |= {f"{head}.bias": bias for head in _HEADS}
        shape = (architecture.hidden, patches.channels, patches.patch_height, patches.patch_width)
        found[f"{projection}.weight"] = found[f"{projection}.weight"].reshape(shape)
        return found

    return Family(
        name=name,
        prefix=prefix,
        root=name,
        endings={SEQUENCE: (_CLASS, *([_OF_BOTH] if len(tokens) > 1 else []))},
        embedding={"patch": projection, "position": places, **own},
        attention={
            "qkv": tuple(f"{layer}.attention.attention.{part}" for part in _QKV),
            "output": f"{layer}.attention.output.dense",
            "norm": f"{layer}.layernorm_before",
        },
        feed_forward={
            "intermediate": f"{layer}.intermediate.dense",
            "output": f"{layer}.output.dense",
            "norm": f"{layer}.layernorm_after",
        },
        classifier={"norm": f"{name}.layernorm", "": "classifier"},
        classifiers={"Model": {"norm": f"{name}.layernorm", "": "classifier"}},
        pooler="none",
        fixed={"vocab_size": 0, "max_position_embeddings": 0, "pad_token_id": 0},
        fields=lambda config: _fields(config, len(tokens)),
        keys=_keys,
        completed=completed,
        saved=saved,
        aside=("decoder.", f"{embedding}.mask_token"),
    )


_QKV = ("query", "key", "value")


def _sides(config: Config, key: str, usual: int) -> tuple[int, int]:
    """Height and width, which may be one number."""
    found = config.get(key, usual)
    sides = found if isinstance(found, list) else [found, found]
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise ValueError(f"{key}: {found!r} is neither a number of pixels nor a height and a width")
    return sides[0], sides[1]


def _fields(config: Config, tokens: int) -> dict[str, Any]:
    (height, width), (patch_height, patch_width) = _sides(config, "image_size", 224), _sides(config, "patch_size", 16)
    patches = Patches(
        height=height,
        width=width,
        patch_height=patch_height,
        patch_width=patch_width,
        channels=config.get("num_channels", 3),
        tokens=tokens,
    )
    return {
        "patches": patches,
        "embedding_size": patches.row_size,
        "positions": patches.rows,
        "token_types": 0,
        "norm_first": True,
        "embedding_norm": "none",
        "final_norm": "layernorm",
        **({"pooling": "tokens"} if str((config.get("architectures") or [""])[0]).endswith(_OF_BOTH) else {}),
    }


def _keys(architecture: Architecture) -> dict[str, Any]:
    patches = architecture.patches
    assert patches is not None
    sides = {"image_size": (patches.height, patches.width), "patch_size": (patches.patch_height, patches.patch_width)}
    return {
        **{key: one[0] if one[0] == one[1] else list(one) for key, one in sides.items()},
        "num_channels": patches.channels,
        "qkv_bias": True,
    }


VIT = image_family("vit", "ViT", ("class",))
