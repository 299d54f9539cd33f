"""The script that makes all that a results table needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from freediv.conversion.cards.card import read_card

from .conftest import Task, make_sentences, write_tsv

SCRIPT = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "all.sh"


def test_a_guide_a_teacher_and_students_come_from_one_command_which_goes_on_where_it_was(
    task: Task, tmp_path: Path
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    shutil.copy(SCRIPT, recipes)
    text = task.recipe.read_text().replace("shapes: 2", "shapes: 1, long_share: 0")
    (recipes / "tiny.yaml").write_text(text)
    (recipes / "no-roots.yaml").write_text(
        text.replace("activation: quad", "activation: quad, attention_norm: layernorm-constant")
    )
    names = "--label-names negative,positive --learning-rate 5e-3 --longest 32"
    chosen = {"GUIDE": names, "TEACHER": names, "STUDENT": "--longer 0.1", "JOBS": "2"}
    environment = {**os.environ, **chosen, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    texts, labels = make_sentences(200, seed=3)
    even = [" ".join((text.split() * 8)[:8]) for text in texts]  # of one length, so that few shapes are compiled
    train, dev = (write_tsv(tmp_path / f"{name}.tsv", even, labels) for name in ("train", "dev"))
    command = [str(recipes / "all.sh"), *map(str, (task.pretrained, task.pretrained, train, dev))]
    here = tmp_path / "here"
    here.mkdir()

    def run(*names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *names], cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    first = run("tiny", "no-roots", "absent")
    assert first.returncode != 0 and "absent.yaml" in first.stderr  # and the others are made all the same
    made = {name: (here / name / "model.safetensors").stat().st_mtime_ns for name in ("teacher", "tiny", "no-roots")}
    second = run("tiny", "no-roots")
    assert second.returncode == 0, second.stderr
    assert made == {name: (here / name / "model.safetensors").stat().st_mtime_ns for name in made}
    assert [line.split("|")[1].strip() for line in second.stdout.splitlines()[2:]] == list(made)
    assert read_card(here / "teacher")["guide"] == "guide"
