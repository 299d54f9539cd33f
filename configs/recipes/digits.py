"""Handwritten digits to try vision transformers on: scikit-learn's 1,797 of 8 x 8 pixels, as a folder for each of 10
classes to train on and one to measure on; and a ViT of random weights that reads them. scikit-learn is needed for this
alone, wherever it is: `pip install scikit-learn pillow`. The ViT is written where freediv is.

    python configs/recipes/digits.py digits
    python configs/recipes/digits.py --fresh vit
    freediv finetune vit --data digits/train --dev digits/dev --epochs 60 --learning-rate 2e-3 --dropout 0 -o teacher
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

SIDE = 8
DEV = 500
"""Digits to measure on; scikit-learn's order is that of their writers, so these are drawn from all of them."""


def write(directory: Path, seed: int) -> None:
    """All digits, in `train` and `dev`."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    for place, number in enumerate(order):
        folder = directory / ("dev" if place < DEV else "train") / str(digits.target[number])
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 255 / 16).round().astype(np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / f"{number:04}.png")


def write_fresh(directory: Path, seed: int) -> None:
    """A ViT of random weights: 3 layers, 64 wide, patches of 2 x 2."""
    from freediv.model import Architecture, LayerFunctions, Model, initial_parameters, write_model
    from freediv.model.functions.patches import Patches

    patches, layers = Patches(height=SIDE, width=SIDE, patch_height=2, patch_width=2), 3
    architecture = Architecture(
        family="vit", patches=patches, vocabulary=0, embedding_size=patches.row_size, positions=patches.rows,
        hidden=64, layers=layers, heads=4, intermediate=256, token_types=0, norm_first=True, embedding_norm="none",
        final_norm="layernorm", pooler="none", label_names=tuple(map(str, range(10))),
        functions=(LayerFunctions(),) * layers,
    )  # fmt: skip
    write_model(Model(architecture, initial_parameters(architecture, seed, 0.05)), directory)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Digits as images, by class.")
    parser.add_argument("directory", type=Path, nargs="?", help="where to write them; left out: no images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", type=Path, metavar="MODEL", help="write a ViT of random weights there")
    chosen = parser.parse_args()
    if chosen.directory is not None:
        write(chosen.directory, chosen.seed)
    if chosen.fresh is not None:
        write_fresh(chosen.fresh, chosen.seed)
