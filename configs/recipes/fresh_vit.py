"""A vision transformer of random weights, for scripts beside this one that make images to try it on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from freediv.model import Architecture, LayerFunctions, Model, initial_parameters, write_model
from freediv.model.functions.patches import Patches


def write_fresh_vit(
    directory: Path, seed: int, *, side: int, patch: int, layers: int, hidden: int, labels: Sequence[str]
) -> None:
    """Write one of 4 heads that reads images of `side` x `side` pixels in patches of `patch` x `patch`."""
    patches = Patches(height=side, width=side, patch_height=patch, patch_width=patch)
    architecture = Architecture(
        family="vit", patches=patches, vocabulary=0, embedding_size=patches.row_size, positions=patches.rows,
        hidden=hidden, layers=layers, heads=4, intermediate=4 * hidden, token_types=0, norm_first=True,
        embedding_norm="none", final_norm="layernorm", pooler="none", label_names=tuple(labels),
        functions=(LayerFunctions(),) * layers,
    )  # fmt: skip
    write_model(Model(architecture, initial_parameters(architecture, seed, 0.05)), directory)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": side, "width": side}}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor) + "\n", encoding="utf-8")
