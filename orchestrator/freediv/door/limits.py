"""How much the door takes at a time. Every limit is one of text-embeddings-inference's names, where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Text
from .refusals import Refusal

MOST_CHARACTERS = 100_000
"""Of one text: many times what any model reads, and little to a tokenizer."""


@dataclass(frozen=True)
class DoorLimits:
    """What is refused beyond.

    Attributes:
        payload_limit: bytes of a request's body.
        image_limit: the same of a body that is an image.
        most_pixels: of all images of a request together, decoded.
        payloads_limit: bytes of all bodies that are held at a time.
        max_client_batch_size: texts of a request.
        max_concurrent_requests: requests that are under way or wait.
        places: of them, how many are with one deployment's parties at a time: they batch those.
        deadline_s: seconds until a request is given up.
    """

    payload_limit: int = 2_000_000
    image_limit: int = 16_000_000
    most_pixels: int = 1 << 26
    payloads_limit: int = 256_000_000
    max_client_batch_size: int = 256
    max_concurrent_requests: int = 512
    places: int = 16
    deadline_s: float = 300.0

    def insist(self, texts: Sequence[Text], of: str, *, images: bool) -> None:
        """Refuse too many texts or images, none, or a text that is too long to be tokenised.

        Raises:
            Refusal: says which, and how many there may be.
        """
        if not texts:
            raise Refusal("Empty", f"`{of}` cannot be empty")
        if len(texts) > self.max_client_batch_size:
            wanted, most = len(texts), self.max_client_batch_size
            raise Refusal("Validation", f"batch size {wanted} > maximum allowed batch size {most}")
        for row, text in enumerate(() if images else texts):
            if sum(map(len, (text,) if isinstance(text, str) else text)) > MOST_CHARACTERS:
                raise Refusal("Validation", f"text {row} has more than {MOST_CHARACTERS} characters")
