"""Clusters of other fraction bits than a model was measured for: right while its certificate says so, wrong beyond."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.measures.headroom import headroom_of
from freediv.model import forward
from freediv.mpc.sharing.settings import ProtocolSettings

from .parties import Parties, architecture, random_parameters, sentences

ASKED = 10
"""Times: what leaves the ring by little is truncated rightly by chance, here in one request out of eight."""


@pytest.mark.parametrize(
    ("fraction_bits", "products"), [(16, "shares"), (20, "shares"), (20, "spu"), (21, "shares")], ids=str
)
def test_answers_are_right_exactly_where_a_certificate_says_so(
    tmp_path: Path, fraction_bits: int, products: str
) -> None:
    """Logits are the largest values of this model: with 18 fraction bits they leave 5 bits to the edge."""
    model = architecture(layers=1, pooler="none")
    parameters = random_parameters(model)
    token_ids, mask = sentences(model.vocabulary, batch=4)
    inputs = {"token_ids": token_ids, "mask": mask.astype(np.float32)}
    largest = float(np.abs(forward(model, parameters, inputs)).max())
    parameters["classifier"] = {k: v * np.float32(2**20 / largest) for k, v in parameters["classifier"].items()}
    plain = np.asarray(forward(model, parameters, inputs))
    certificate = headroom_of({"classifier": float(np.abs(plain).max())}, length=16).certificate
    fits = certificate.misfit(field="FM64", fraction_bits=fraction_bits, length=16, row_limits=False) is None
    with Parties(settings=ProtocolSettings(fraction_bits=fraction_bits), products=products) as parties:
        parties.join().load(tmp_path, model, parameters)
        found = [parties.predict(token_ids, mask) for _ in range(ASKED)]
    error = np.abs(np.stack(found) - plain).max() / 2**20
    assert fits == (fraction_bits < 21)
    assert (error < 0.01) == fits
    assert fits or error > 0.5  # no noise: a value left the ring
