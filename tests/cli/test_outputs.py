"""What a command will write is found good, or not, before it works; and what it reads is named for what it is."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from freediv.cli.conversion import _command_line
from freediv.cli.options.charts import opened_chart
from freediv.cluster.folders import owner_folder, read_any_config
from freediv.conversion.output import new_directory, require_new
from freediv.errors import UserError
from freediv.model import read_model, resolve_model
from freediv.model.architecture import usable_buckets

from .test_boundary import freediv


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_empty_directory_is_filled_and_not_replaced(tmp_path: Path) -> None:
    """It may be mounted, or where the user is."""
    inode = tmp_path.stat().st_ino
    require_new(tmp_path)
    with new_directory(tmp_path) as directory:
        (directory / "config.json").write_text("{}")
    assert names(tmp_path) == ["config.json"]
    assert tmp_path.stat().st_ino == inode
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "other"):
        _ = 1 // 0
    assert names(tmp_path) == ["config.json"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_work() -> None:
    with pytest.raises(UserError, match="cannot be written"):
        require_new(Path("/proc/student"))


@pytest.mark.parametrize("command", ["finetune", "convert"])
def test_the_working_directory_is_no_traceback(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.tsv").write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    (tmp_path / "recipe.yaml").write_text("name: any\nfunctions: {attention: 2quad-freediv, activation: quad}\n")
    recipe = ["--recipe", "recipe.yaml"] if command == "convert" else []
    done = freediv(command, resolve_model("demo"), *recipe, "--data", "train.tsv", "-o", ".")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path} is already there; name another output, or remove it"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_model("demo"), tmp_path / "model"))


def test_an_index_that_names_no_files_is_told_as_such(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    (copy / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match=r"index\.json: has no weight_map.*fetch it again"):
        read_model(copy)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tf_model.h5", r"model\.safetensors: not there.* tf_model\.h5 is another format: save the model again"),
        ("pytorch_model.bin", r"pytorch_model\.bin: cannot be read as what torch\.save writes \(it is another format"),
    ],
)
def test_weights_of_another_format_are_named(copy: Path, name: str, told: str) -> None:
    (copy / "model.safetensors").rename(copy / name)
    with pytest.raises(UserError, match=told):
        read_model(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_git_lfs_leaves_in_a_files_place_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(UserError, match=rf"{name}: is a Git LFS pointer.*git lfs pull"):
        read_model(copy)


@pytest.mark.parametrize(
    ("positions", "usable"),
    [(40, (16, 32, 40)), (8, (8,)), (32, (16, 32)), (64, (16, 32, 64)), (512, (16, 32, 64)), (63, (16, 32, 63))],
)
def test_a_models_own_length_is_a_bucket_where_others_are_too_long_for_it(
    positions: int, usable: tuple[int, ...]
) -> None:
    assert usable_buckets((16, 32, 64), positions) == usable


@pytest.mark.parametrize("options", [["--json", "/nowhere/rows"], ["--chart", "bars.pdf"]], ids=str)
def test_a_benchmark_says_at_once_that_its_rows_have_no_place(options: list[str]) -> None:
    done = freediv("bench", "layer", "--hidden", 8, "--heads", 1, "--intermediate", 8, *options)
    assert done.returncode == 2
    assert options[1] in done.stderr


def test_a_file_of_tls_keys_that_cannot_be_written_is_named_by_its_variable() -> None:
    body = "import ssl; ssl.create_default_context()"
    from .test_boundary import run

    done = run(body, environment={"SSLKEYLOGFILE": "/nowhere/keys"})
    assert (done.returncode, done.stderr) == (
        2, "error: SSLKEYLOGFILE=/nowhere/keys: no such file or directory; unset it\n"
    )  # fmt: skip


def test_a_command_line_in_no_encoding_can_stand_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is written when all is trained."""
    monkeypatch.setattr(sys, "argv", ["freediv", "finetune", "-o", os.fsdecode(b"new\xff")])
    assert _command_line().encode() == b"freediv finetune -o 'new\\udcff'"


@pytest.mark.parametrize("name", ["a.SVG", "a.Png"])
def test_a_charts_format_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    from freediv.bench.chart import plt, save

    with opened_chart(tmp_path / name) as picture:
        assert picture is not None
        save(plt.figure(), picture)
    assert (tmp_path / name).stat().st_size > 100


def test_a_folder_that_may_not_be_entered_is_told_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data-owner").mkdir()
    with pytest.raises(UserError, match="holds no folder of a data owner"):
        owner_folder(tmp_path, "data-owner")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user whose folder it is not
    with pytest.raises(UserError, match=r"data-owner: permission denied; run this as the user"):
        owner_folder(tmp_path, "data-owner")
    with pytest.raises(UserError, match=r"data-owner: permission denied"):
        read_any_config(tmp_path)


@pytest.mark.parametrize("lines", ["0", "-3"])
def test_no_lines_of_a_log_are_not_all_of_them(tmp_path: Path, lines: str) -> None:
    done = freediv("logs", tmp_path, "--lines", lines)
    assert done.returncode == 2
    assert f"{lines} is not in the range x>=1" in done.stderr
