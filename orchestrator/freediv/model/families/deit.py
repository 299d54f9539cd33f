"""DeiT: Touvron et al. 2021. ViT with a second token, which learned from a teacher: a checkpoint has the classifier of
the class token, or both tokens', whose mean is taken.
"""

from __future__ import annotations

from .vit import image_family

DEIT = image_family("deit", "DeiT", ("class", "distillation"))
