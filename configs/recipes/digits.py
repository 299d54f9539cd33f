"""Handwritten digits to try vision transformers on: scikit-learn's 1,797 of 8 x 8 pixels, as a folder for each of 10
classes to train on and one to measure on; and a ViT of random weights that reads them. scikit-learn is needed for this
alone, wherever it is: `pip install scikit-learn pillow`. The ViT is written where freediv is.

    python configs/recipes/digits.py digits
    python configs/recipes/digits.py --fresh vit
    freediv finetune vit --data digits/train --dev digits/dev --epochs 60 --learning-rate 2e-3 --dropout 0 -o teacher
"""

from __future__ import annotations

import argparse
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Digits as images, by class.")
    parser.add_argument("directory", type=Path, nargs="?", help="where to write them; left out: no images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", type=Path, metavar="MODEL", help="write a ViT of random weights there")
    chosen = parser.parse_args()
    if chosen.directory is not None:
        write(chosen.directory, chosen.seed)
    if chosen.fresh is not None:
        from fresh_vit import write_fresh_vit

        write_fresh_vit(
            chosen.fresh, chosen.seed, side=SIDE, patch=2, layers=3, hidden=64, labels=list(map(str, range(10)))
        )
