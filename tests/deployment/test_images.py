"""Images, end to end: the labels of plaintext, from pixels that no party sees; and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import freediv
import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import read_model
from vision import PICTURES, SOURCE, make_vision, said

from .conftest import Cluster, MakeCluster, assert_one_line_error, run_command


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vision(tmp_path_factory.mktemp("vision") / "model")


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, vision: Path) -> Cluster:
    """As rendered by default, with words looked up by keys, which images have none of; logits to compare, and pixels
    that are compared with their ranges.
    """
    made = make_cluster(output="logits")
    made.up()
    done = run_command("load", made.directory, vision, "--check-pixels")
    assert done.returncode == 0, done.stderr
    return made


def test_private_answers_are_those_of_plaintext(cluster: Cluster, vision: Path) -> None:
    expected = said(read_model(vision))
    done = run_command("infer", cluster.directory, "--image", SOURCE, "--json")
    found = json.loads(done.stdout)
    assert [one["image"] for one in found["predictions"]] == [str(image) for image in PICTURES]
    assert [one["label"] for one in found["predictions"]] == [one.prediction.name for one in expected]
    assert len({one["label"] for one in found["predictions"]}) > 1
    np.testing.assert_allclose(
        [one["logits"] for one in found["predictions"]], [one.outputs for one in expected], atol=0.03
    )
    [request] = found["cost"]["requests"]
    assert (request["batch"], request["length"]) == (4, 18)  # the number of rows, which every image has


def test_a_program_gives_paths(cluster: Cluster, vision: Path) -> None:
    expected = [one.prediction.name for one in said(read_model(vision))]
    with freediv.connect(cluster.directory) as client:
        assert client.classify(PICTURES[0]).label == expected[0]
        assert [one.label for one in client.classify([PICTURES[1], PICTURES[2].read_bytes()])] == expected[1:3]
        with pytest.raises(UserError, match="sentence 1 is a text, and the model reads images"):
            client.classify("a warm and funny film")


def test_a_text_is_refused_by_one_line(cluster: Cluster, tmp_path: Path) -> None:
    done = run_command("infer", cluster.directory, "--text", "a warm and funny film")
    assert_one_line_error(done, "sentence 1 is a text, and the model reads images: give --image")
    (tmp_path / "no.png").write_bytes(b"no image")
    done = run_command("infer", cluster.directory, "--image", tmp_path / "no.png")
    assert_one_line_error(done, "no.png: cannot be read as a PNG or JPEG image")
    done = run_command("load", cluster.directory, "demo", "--check-pixels")
    assert_one_line_error(done, "--check-pixels: the model reads texts, and has no pixels to check; leave it out")


def test_measured_privately_beside_plaintext(cluster: Cluster, vision: Path, tmp_path: Path) -> None:
    rows = [f"{image},{one.prediction.name}" for image, one in zip(PICTURES, said(read_model(vision)), strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["image,label", *rows]) + "\n", encoding="utf-8")
    done = run_command("evaluate", vision, "--data", tmp_path / "data.csv", "--secure", cluster.directory, "--json")
    found = json.loads(done.stdout)
    assert (found["accuracy"], found["agreement"], found["differing"]) == (1.0, 1.0, [])
