"""Vision transformers on shares, with what stands for an image in each of three ways: the logits of plaintext."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from freediv.model import convert_functions, forward, read_model, read_reader
from mpc.parties import Parties

DIRECTORY = Path(__file__).parents[1] / "model" / "families" / "deit-classifier"


@pytest.mark.parametrize("products", ["shares", "spu"])
def test_logits_on_shares_are_those_of_plaintext(products: str, tmp_path: Path) -> None:
    model = read_model(DIRECTORY)
    cheap = {"attention": "2quad-freediv", "activation": "quad"} if products == "shares" else {}
    functions = tuple(one.model_copy(update=cheap) for one in model.architecture.functions[:1])
    model = convert_functions(model, functions=functions, layers=1)
    given = np.stack(read_reader(DIRECTORY).sequences(sorted(DIRECTORY.glob("*.png"))[:2], model.architecture))
    with Parties(products=products) as parties:
        parties.join()
        for pooling in ("first", "mean", "tokens") if products == "shares" else ("first",):
            architecture = model.architecture.model_copy(update={"pooling": pooling})
            own = dict(model.parameters["classifier"])
            if pooling == "tokens":
                own["weight"] = np.concatenate([own["weight"], -0.5 * own["weight"]])
            parameters = {**model.parameters, "classifier": own}
            wanted = forward(architecture, parameters, {"rows": given})
            parties.load(tmp_path, architecture, parameters, model_id=pooling)
            found = parties.predict(given, np.ones(given.shape[:2]))
            np.testing.assert_allclose(found, wanted, atol=0.02, err_msg=pooling)
