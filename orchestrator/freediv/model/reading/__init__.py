"""What makes numbers of what is given to a model: of texts a tokenizer, of images an image processor. Which of the two,
a model's family says; what both can do is a `Reader`.
"""

from __future__ import annotations

from .given import Given, as_entry, on_one_line
from .reader import Reader
from .readers import parse_reader, read_reader, reads_images

__all__ = ["Given", "Reader", "as_entry", "on_one_line", "parse_reader", "read_reader", "reads_images"]
