"""Ways to run a model in the frame of a survey: nothing is missing that the code knows, and nothing is made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from deployment.conftest import assert_one_line_error, run_command
from freediv.bench.frame import COLUMNS, cells, of_models, of_peers, of_variants, way
from freediv.bench.variants import VARIANTS
from freediv.conversion.student.recipe import read_recipe
from freediv.errors import UserError
from freediv.model import LayerFunctions

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recipes"
TRUSTED, COMPUTED, COSTS = COLUMNS


def test_every_variant_and_recipe_has_a_whole_row_of_what_it_is() -> None:
    recipes = [read_recipe(path) for path in sorted(RECIPES.glob("*.yaml"))]
    found = of_variants([]) + [way(one.name, one.all_functions()) for one in recipes]
    assert {one.name for one in found} >= {v.name for v in VARIANTS.values() if v.functions} | {r.name for r in recipes}
    for one in found:
        told = cells(one)
        assert "-" not in told[TRUSTED] + told[COMPUTED], one.name
        assert [len(told[title]) for title in COLUMNS] == [len(columns) for columns in COLUMNS.values()]


def test_what_functions_are_is_said_by_the_functions() -> None:
    layers = [LayerFunctions(attention="2quad-freediv"), LayerFunctions(activation="quad")]
    attention, activation, norm, _, retraining = cells(way("mixed", layers))[COMPUTED]
    assert attention.count("(") == activation.count("(") == 2 and norm.count("(") == 1
    assert "Liu et al. 2024" in attention and "Vaswani" in attention
    assert (retraining, cells(way("as it is", [LayerFunctions()]))[COMPUTED][4]) == ("yes", "no")


def test_what_is_thinner_is_said_by_sizes_and_recipes(tmp_path: Path) -> None:
    """And a student that is thinner has to be trained."""
    thin = {one.name: cells(one)[COMPUTED][3] for one in of_variants([])}
    assert (thin["ours"], thin["ours-thin"].count("6 heads in layers 6, 7, 8, 9, 10, 11")) == ("no", 1)
    assert thin["ours-pooled"] == "; ".join(
        f"after layer {layer} each 2 neighbouring rows become one, the first apart" for layer in (1, 5)
    )
    own = (
        "name: own\nfunctions: {}\nleave_out: [2]\nsizes: {heads: 6}\nlayers: {1: {intermediate: 64, pool: {rows: 2}}}"
    )
    (tmp_path / "own.yaml").write_text(own, encoding="utf-8")
    *_, said, retraining = cells(of_models([tmp_path / "own.yaml"], [])[0])[COMPUTED]
    assert said.startswith("without layer 2; all layers: 6 heads; layer 1: 64 in the feed-forward block, each 2 ")
    assert retraining == "yes"


def test_costs_are_those_of_the_rows_that_were_measured(tmp_path: Path) -> None:
    rows = [
        {"variant": "ours", "of": "a layer", "network": name, "sent_bytes": 2.5e6, "messages": 61.0, "seconds": seconds}
        for name, seconds in (("loopback", 0.5), ("wan", 2.25))
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    done = run_command("results", "--frame", "--measured", tmp_path / "rows.json", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    ours = found["ours"]
    assert (ours["by"], ours["of"], ours["sent_bytes"], ours["messages"]) == ("measured here", "a layer", 2.5e6, 61.0)
    assert ours["seconds"] == {"loopback": 0.5, "wan": 2.25}
    assert (found["puma"]["by"], found["puma"]["sent_bytes"]) == ("not measured", None)
    (tmp_path / "rows.json").write_text(json.dumps([{"variant": "ours"}]), encoding="utf-8")
    done = run_command("results", "--frame", "--measured", tmp_path / "rows.json")
    assert_one_line_error(done, "rows.json", "holds no rows of a benchmark")


def test_peers_stand_beside_with_where_their_figures_are_from() -> None:
    for one in of_peers():
        assert one.by and one.by != "measured here"
        assert one.seconds is not None and (one.seconds or one.sent_bytes)
        assert one.attention is None  # their papers have more than one


def test_a_card_says_how_good_a_recipe_of_its_name_is_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    recipe, card = RECIPES / "2quad.yaml", RECIPES / "cards" / "2quad.md"
    [own] = of_models([recipe, card], [])
    assert own.by == "its card" and own.accuracy is not None and own.accuracy.startswith("90.8 % [")
    assert (own.headroom_bits, own.of) == (7.22, "one of its layers, 32 word pieces")
    [alone] = of_models([recipe], [])
    assert (alone.by, alone.accuracy, alone.sent_bytes) == ("not measured", None, None)
    damaged = Path(shutil.copy(card, tmp_path))
    measurements = card.with_suffix(".json").read_text(encoding="utf-8")
    damaged.with_suffix(".json").write_text(measurements.replace('"headroom_bits": 7.22', '"headroom_bits": ["x"]'))
    with pytest.raises(UserError, match=r"2quad\.md: its card holds what no command of freediv writes"):
        of_models([recipe, damaged], [])
