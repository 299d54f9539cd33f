"""The comparison that the paper makes, on the smallest published size: what each row cost, and how good it is."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from freediv.bench.claim import VARIANTS, beside
from freediv.bench.presets import SIZES, encoder
from freediv.bench.variants import choose
from freediv.cli.benchmarks import bench
from freediv.conversion.cards.card import own_accuracy, read_card
from freediv.errors import UserError
from freediv.model import parameter_shapes, read_model
from tiny import make_tiny_model

CARDS = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "cards"
STUDENT = CARDS / "2quad-freediv.md"


def test_each_row_has_its_ratios_what_was_published_and_the_accuracy_of_its_functions(tmp_path: Path) -> None:
    file, chart = tmp_path / "rows.json", tmp_path / "claim.svg"
    arguments = ["claim", "--size", "bert-tiny", "--length", "8", "--repeats", "1"]
    arguments += ["--variants", "baseline,paper-softmax-freediv,ours"]
    arguments += ["--card", str(CARDS / "teacher.md"), "--card", str(STUDENT)]
    arguments += ["--json", str(file), "--chart", str(chart)]
    done = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = {row["variant"]: row for row in json.loads(file.read_text())}
    assert list(rows) == ["baseline", "paper-softmax-freediv", "ours"]
    baseline, ours = rows["baseline"], rows["ours"]
    assert baseline["messages"] > rows["paper-softmax-freediv"]["messages"] > ours["messages"] > 0
    assert all(row["of"].startswith("one encoder layer of bert-tiny, 8 word pieces") for row in rows.values())
    accuracies = {name: row["accuracy"] and row["accuracy"]["model"] for name, row in rows.items()}
    student = "2quad-freediv: 6 layers, 384 wide"
    assert accuracies == {
        "baseline": "teacher: 6 layers, 384 wide",
        "paper-softmax-freediv": None,
        "ours": student,
    }
    assert ours["accuracy"]["accuracy"] == own_accuracy(read_card(STUDENT)).value
    published = {name: row["published"] and row["published"]["times_faster"] for name, row in rows.items()}
    assert list(published.values()) == [None, 2.26, None]
    lines = {line.split()[0]: line.rstrip() for line in done.output.splitlines() if line}
    assert f"{baseline['messages'] / ours['messages']:.2f}x" in lines["ours"] and student in lines["ours"]
    assert re.search(r"x +2\.26x +\S+x +\S+x +- +-$", lines["paper-softmax-freediv"])
    assert re.search(r" 1\.00x +- +1\.00x +1\.00x +90\.9 % \[", lines["baseline"])
    assert "as Liu et al. 2024 published" in chart.read_text()


def test_a_whole_model_is_run_where_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    arguments = ["claim", "--part", "model", "--size", "bert-tiny", "--length", "16", "--repeats", "1"]
    done = CliRunner().invoke(bench, [*arguments, "--variants", "ours", "--json", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    [row] = json.loads(file.read_text())
    assert row["of"].startswith("bert-tiny, 16 word pieces") and row["accuracy"] is None
    assert row["messages"] > 2 * row["layer_messages"] > 0  # embedding and classifier are more than its two layers


def test_sizes_are_the_published_ones() -> None:
    """Parameters as they are published, with the pooler; and a classifier of two labels."""
    published = {
        "bert-base": 109_482_240, "bert-large": 335_141_888, "bert-tiny": 4_385_920, "minilm-l6": 22_713_216
    }  # fmt: skip
    assert set(published) == set(SIZES)
    for name, count in published.items():
        model = encoder(name)
        found = sum(math.prod(shape) for own in parameter_shapes(model).values() for shape in own.values())
        assert found == count + 2 * model.hidden + 2, name


def test_both_of_the_papers_functions_are_run_unless_others_are_named() -> None:
    found = beside(choose(VARIANTS), [str(STUDENT)])
    assert list(found) == ["baseline", "paper-softmax-freediv", "paper-2quad-freediv", "ours"]
    assert [own.published and own.published.times_faster for own in found.values()] == [None, 2.26, 2.26, None]
    assert [own.kept is not None for own in found.values()] == [False, False, True, True]


def test_what_needed_no_training_has_the_teachers_accuracy() -> None:
    """Its approximations are it; a constant for a root is not."""
    cards = [str(CARDS / f"{name}.md") for name in ("teacher", "2quad")]
    found = beside(choose("baseline,puma,mpcformer,ours-minimal"), cards)
    told = {name: own.kept and own.kept.model.partition(":")[0] for name, own in found.items()}
    assert told == {"baseline": "teacher", "puma": "teacher", "mpcformer": "2quad", "ours-minimal": None}
    [minimal] = beside(choose("ours-minimal"), [str(CARDS / "2quad-freediv-no-roots.md")]).values()
    assert minimal.kept is not None and minimal.kept.accuracy.correct == 786


def test_a_card_of_one_file_counts_by_its_models_directory(tmp_path: Path) -> None:
    """Earlier commits wrote no functions into a card: the directory says them."""
    model, card = make_tiny_model(tmp_path / "tiny"), json.loads((CARDS / "teacher.json").read_text())
    del card["model"]
    shutil.copyfile(CARDS / "teacher.md", model / "README.md")
    (model / "measurements.json").write_text(json.dumps(card))
    functions = read_model(model).architecture.functions
    chosen = choose("baseline,ours")
    names = [name for name, own in beside(chosen, [str(model)]).items() if own.kept]
    assert names == (["ours"] if functions[0].attention == "2quad-freediv" else ["baseline"])
    shutil.copyfile(CARDS / "teacher.md", tmp_path / "old.md")
    (tmp_path / "old.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"old\.md: does not say which functions the model has; name its directory"):
        beside(chosen, [str(tmp_path / "old.md")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--size", "bert-huge"],
            "there is no 'bert-huge'; known: bert-base, bert-large, bert-tiny, minilm-l6",
        ),
        (["--length", "600"], "--length 600: bert-base has 512 positions"),
        (["--card", "nowhere"], "nowhere: not a model directory"),
        (["--card", str(CARDS / "relu-freediv.md")], r"no row has its functions \(relu-freediv, quad, "),
        (
            ["--card", str(STUDENT), "--card", str(STUDENT)],
            "has the functions of 2quad-freediv: 6 layers, 384 wide; give one of them",
        ),
        (["--card", "demo"], r"no row has its functions \(.*heads"),
        (["--variants", "itself"], "--variants: itself has the functions of a model"),
        (["--chart", "claim.pdf"], "charts are drawn as .svg or .png"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(bench, ["claim", *arguments], catch_exceptions=False)
