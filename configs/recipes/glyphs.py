"""Images to try vision transformers on, made of what is installed: letters of matplotlib's fonts, 32 x 32, each turned,
shifted, in colours of its own, in noise; a folder for each class, 26 if nothing else is said. And a ViT of random
weights that reads them.

    python configs/recipes/glyphs.py train --count 200
    python configs/recipes/glyphs.py dev --count 40 --seed 1 --fresh vit
    freediv finetune vit --data train --dev dev --epochs 40 --learning-rate 1e-3 --dropout 0 -o teacher
    freediv convert teacher --recipe configs/recipes/2quad-freediv.yaml --data train --dev dev --seeds 3 -o student
"""

from __future__ import annotations

import argparse
import string
from pathlib import Path

import matplotlib
import numpy as np
from fresh_vit import write_fresh_vit
from PIL import Image, ImageDraw, ImageFont

SIDE = 32
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10",
)  # fmt: skip


def glyph(letter: str, rng: np.random.Generator) -> Image.Image:
    """One letter, in any of the fonts."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / f"{rng.choice(FONTS)}.ttf"), int(rng.integers(18, 27)))
    mask = Image.new("L", (SIDE, SIDE))
    place = SIDE / 2 + rng.uniform(-3, 3, 2)
    ImageDraw.Draw(mask).text((place[0], place[1]), letter, fill=255, font=font, anchor="mm")
    turned = mask.rotate(float(rng.uniform(-15, 15)), Image.Resampling.BILINEAR)
    weight = np.asarray(turned, np.float64)[..., None] / 255
    paper = rng.uniform(0, 255, 3)
    ink = (paper + rng.uniform(90, 165, 3)) % 256  # far from the paper's, in every channel
    pixels = (1 - weight) * paper + weight * ink + rng.normal(0, 20, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write(directory: Path, count: int, seed: int, letters: str) -> None:
    """So many of each letter; the same for the same seed."""
    rng = np.random.default_rng(seed)
    for letter in letters:
        (directory / letter).mkdir(parents=True)
        for number in range(count):
            glyph(letter, rng).save(directory / letter / f"{number:04}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Letters as images, by class.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=60, help="of each letter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--letters", default=string.ascii_uppercase, help="which there are")
    parser.add_argument("--fresh", type=Path, metavar="MODEL", help="write a ViT of random weights there, too")
    chosen = parser.parse_args()
    write(chosen.directory, chosen.count, chosen.seed, chosen.letters)
    if chosen.fresh is not None:
        write_fresh_vit(
            chosen.fresh, chosen.seed, side=SIDE, patch=8, layers=4, hidden=96, labels=string.ascii_uppercase
        )
