"""`freediv predict`: what a checkpoint says, as transformers says it; in JSON, and for people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from freediv.audit.whole import audit_model
from freediv.cli.measuring import predict
from freediv.errors import UserError
from freediv.model import read_model, write_model
from PIL import Image
from tiny import make_tiny_model

FAMILIES = Path(__file__).parents[1] / "model" / "families"
TEXT = "A warm and funny film."


def printed(*arguments: object) -> str:
    done = CliRunner().invoke(predict, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def entries(*arguments: object) -> list[dict[str, Any]]:
    return json.loads(printed(*arguments, "--json"))


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(predict, list(map(str, arguments)))
    assert done.exception is not None
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.mark.parametrize("name", sorted(one.parent.name for one in FAMILIES.glob("*/tokenizer.json")))
def test_every_checkpoint_says_what_transformers_says(name: str) -> None:
    """Single texts and pairs of different lengths, all at once: some are padded."""
    expected = json.loads((FAMILIES / name / "expected.json").read_text(encoding="utf-8"))
    given, items = [], expected["items"]
    for item in sorted(items, key=lambda item: len(item["texts"])):
        given += ["--text" if len(item["texts"]) == 1 else "--pair", *item["texts"]]
    longest = ["--longest", expected["padded_to"]] if expected["padded_to"] else []
    found = entries(FAMILIES / name, *given, "--pieces", *longest)
    assert len(found) == len(items)
    for one, item in zip(found, sorted(items, key=lambda item: len(item["texts"])), strict=True):
        assert one["ids"] == item["input_ids"]
        assert len(one["pieces"]) == len(one["ids"])
        np.testing.assert_allclose(one["outputs"], item["output"], atol=1e-4)


@pytest.mark.parametrize("name", sorted(one.parent.name for one in FAMILIES.glob("*/preprocessor_config.json")))
def test_every_checkpoint_says_of_images_what_transformers_says(name: str, tmp_path: Path) -> None:
    """One by one, a folder of them, and a table that names them."""
    directory = FAMILIES / name
    items = json.loads((directory / "expected.json").read_text(encoding="utf-8"))["items"]
    (tmp_path / "paths.csv").write_text(f"image\n{directory / items[3]['image']}\n", encoding="utf-8")
    found = entries(directory, "--image", directory, "--image", tmp_path / "paths.csv")
    assert [Path(one["image"]).name for one in found] == [*(item["image"] for item in items), items[3]["image"]]
    for one, item in zip(found, [*items, items[3]], strict=True):
        np.testing.assert_allclose(one["outputs"], item["output"], atol=1e-4)
    head, row = printed(directory, "--image", directory / "image-0.png").splitlines()
    assert head.split() == ["label", "cat", "dog", "neither", "image"]
    assert row.split()[1:4] == [f"{number:.4f}" for number in items[0]["output"]]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("bert-classifier", {"label": "neutral", "labels": ["neutral"]}),
        ("bert-reranker-one-logit", {"labels": []}),
        ("bert-multi-label", {"labels": ["toxic", "insult"]}),
        ("bert-encoder", {"labels": []}),
    ],
)
def test_json_has_outputs_and_labels_and_what_infer_tells(name: str, keys: dict[str, Any]) -> None:
    [found] = entries(FAMILIES / name, "--text", TEXT)
    answer = {"bert-reranker-one-logit": "score", "bert-encoder": "vector"}.get(name)
    assert found.keys() == {"text", "outputs", "labels"} | keys.keys() | ({answer} if answer else set())
    assert {key: found[key] for key in keys} == keys
    if answer == "score":
        assert found["score"] == found["outputs"][0]
    if answer == "vector":
        np.testing.assert_allclose(found["vector"], np.mean(found["outputs"], axis=0), atol=1e-5)


def test_pieces_have_labels_and_make_spans_of_the_text() -> None:
    [found] = entries(FAMILIES / "bert-tokens", "--text", TEXT)
    names = read_model(FAMILIES / "bert-tokens").architecture.label_names
    assert found["labels"] == [names[index] for index in np.argmax(found["outputs"], axis=-1)]
    assert found["spans"]
    for span in found["spans"]:
        assert TEXT[span["start"] : span["end"]] == span["words"]
        assert span["label"] in {"PER", "LOC"}


def test_a_student_says_in_which_text_one_of_its_rows_is_beyond_a_limit(tmp_path: Path) -> None:
    """Limits so small that no text keeps them."""
    norm = {"attention_norm": "layernorm-constant", "feed_forward_norm": "layernorm"}
    directory = make_tiny_model(tmp_path / "whole", row_limits=True, **norm)
    model = read_model(directory)
    model.parameters["classifier"]["limits"] *= 1e-9
    write_model(model, tmp_path / "tight", tokenizer=directory)
    [found] = entries(tmp_path / "tight", "--text", "a warm film")
    assert (found["label"], found["outputs"], found["labels"]) == (None, None, [])
    assert "1 without an answer" in printed(tmp_path / "tight", "--text", "a warm film")


def test_for_people_there_is_a_table_with_scores() -> None:
    head, row = printed(FAMILIES / "bert-classifier", "--text", TEXT).splitlines()
    assert head.split() == ["label", "contradiction", "entailment", "neutral", "text"]
    assert row.split()[0] == "neutral" and row.rstrip().endswith(TEXT)


def test_a_file_is_read_as_infer_reads_it(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one film\n\nno film\n", encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("first\tsecond\nis it\tyes\n", encoding="utf-8")
    model = FAMILIES / "bert-classifier"
    assert [one["text"] for one in entries(model, "--file", tmp_path / "texts.txt")] == ["one film", "no film"]
    columns = ("--text-column", "first", "--text-column", "second")
    assert [one["text"] for one in entries(model, "--file", tmp_path / "pairs.tsv", *columns)] == [["is it", "yes"]]


def test_what_a_model_does_not_read_is_refused_with_its_number(tmp_path: Path) -> None:
    long = "film " * 80
    model = FAMILIES / "bert-classifier"
    assert "text 2 has" in refused(model, "--text", TEXT, "--text", long)
    assert len(entries(model, "--text", long, "--truncate", "--pieces")[0]["ids"]) == 64
    assert len(entries(model, "--text", long, "--longest", 9, "--pieces")[0]["ids"]) == 9
    assert "--longest 65: the model reads 1 to 64 word pieces" in refused(model, "--text", TEXT, "--longest", 65)
    assert "nothing to read" in refused(model)
    single = make_tiny_model(tmp_path / "single")
    assert "text 1 is a pair, and the model reads single texts" in refused(single, "--pair", "a", "b")


def test_what_no_such_model_reads_is_refused_by_one_line(tmp_path: Path) -> None:
    vit, bert = FAMILIES / "vit-classifier", FAMILIES / "bert-classifier"
    image = FAMILIES / "vit-classifier" / "image-0.png"
    assert "number 1 is a text, and the model reads images: give --image" in refused(vit, "--text", "a film")
    assert "number 1 is an image, and the model reads texts: give --text" in refused(bert, "--image", image)
    with pytest.raises(UserError, match="reads images, and what asking tells is measured with texts"):
        audit_model(vit, ("seek",))
    assert "--pieces: the model reads images" in refused(vit, "--image", image, "--pieces")
    assert "reads images, which have no word pieces to cut at" in refused(vit, "--image", image, "--longest", "5")
    assert "is a directory that holds no image" in refused(vit, "--image", tmp_path)
    (tmp_path / "no.png").write_bytes(b"no image")
    assert "no.png: cannot be read as a PNG or JPEG image" in refused(vit, "--image", tmp_path / "no.png")
    assert "away.png: no such file" in refused(vit, "--image", tmp_path / "away.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    assert "deep.png: has more than 8 bits a channel" in refused(vit, "--image", tmp_path / "deep.png")
    Image.new("L", (9000, 9000)).save(tmp_path / "large.png")
    assert "large.png: has more than 67,108,864 pixels" in refused(vit, "--image", tmp_path / "large.png")
    (tmp_path / "rows.csv").write_text("picture\na.png\n", encoding="utf-8")
    assert "line 2: there is no column 'image'" in refused(vit, "--image", tmp_path / "rows.csv")
    shutil.copytree(vit, tmp_path / "bare", ignore=shutil.ignore_patterns("preprocessor*"))
    assert "preprocessor_config.json: no such file" in refused(tmp_path / "bare", "--image", image)
