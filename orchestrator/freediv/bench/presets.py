"""Sizes of published models, for models of random weights.

Vision transformers: images of 224 x 224 in patches of 16 x 16, a class token before them: 197 rows. ViT-B: Dosovitskiy
et al. 2021, table 1. DeiT-S: Touvron et al. 2021, table 1. Encoders of texts: BERT-base and BERT-large: Devlin et al.
2019, section 3; BERT-tiny: Turc et al. 2019; MiniLM-L6: Wang et al. 2020.
"""

from __future__ import annotations

from ..errors import UserError
from ..model import Architecture, LayerFunctions
from ..model.functions.patches import Patches

_WIDTHS = {"deit-s": (384, 6), "vit-b": (768, 12)}
"""Width and heads."""
PRESETS = tuple(_WIDTHS)
_ENCODERS = {
    "bert-base": (12, 768, 12), "bert-large": (24, 1024, 16), "bert-tiny": (2, 128, 2), "minilm-l6": (6, 384, 12)
}  # fmt: skip
"""Layers, width and heads."""
SIZES = tuple(_ENCODERS)


def encoder(name: str) -> Architecture:
    """A classifier of two labels of such a size, with BERT's word pieces, a secret table, and BERT's functions.

    Raises:
        UserError: there is none of the name.
    """
    if name not in _ENCODERS:
        raise UserError(f"--size: there is no {name!r}; known: {', '.join(SIZES)}")
    layers, hidden, heads = _ENCODERS[name]
    return Architecture(
        vocabulary=30522,
        embedding_size=hidden,
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=4 * hidden,
        positions=512,
        label_names=("negative", "positive"),
        functions=(LayerFunctions(),) * layers,
    )


def preset(name: str, layers: int) -> Architecture:
    """A model of such sizes, with so many of its layers.

    Raises:
        UserError: there is none of the name.
    """
    if name not in _WIDTHS:
        raise UserError(f"--preset: there is no {name!r}; known: {', '.join(PRESETS)}")
    patches, (hidden, heads) = Patches(height=224, width=224, patch_height=16, patch_width=16), _WIDTHS[name]
    return Architecture(
        family="vit",
        patches=patches,
        vocabulary=0,
        embedding_size=patches.row_size,
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=4 * hidden,
        positions=patches.rows,
        token_types=0,
        label_names=tuple(map(str, range(1000))),
        norm_first=True,
        embedding_norm="none",
        final_norm="layernorm",
        pooler="none",
        functions=(LayerFunctions(),) * layers,
    )
