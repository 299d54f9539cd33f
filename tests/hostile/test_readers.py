"""Files that others wrote, or that a disk damaged, into every reader: a value, or one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from freediv.cluster.configuration import read_party_config
from freediv.cluster.credentials import read_revoked
from freediv.cluster.identity import read_identity
from freediv.conversion.cards.card import read_card
from freediv.conversion.cards.comparing import read_result, rows
from freediv.conversion.run_directory import RunDirectory
from freediv.conversion.student.recipe import read_recipe
from freediv.deploy.demonstration import free_topology
from freediv.deploy.render import render
from freediv.errors import UserError, one_line
from freediv.monitoring.costs import read_run
from freediv.monitoring.table import print_costs
from freediv.mpc.sharing import share_files
from freediv.mpc.sharing.shares import share
from freediv.owners.upload_randomness import begin_sharing
from freediv.party.models.model_store import ModelStore
from hypothesis import given, settings
from hypothesis import strategies as st
from monitoring.conftest import make_run_cost
from rich.console import Console
from tiny import architecture

from .test_parsers import altered, damaged, fuzz

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL_ID = "0" * 32
ARCHITECTURE = architecture(layers=1, vocabulary=20, hidden=8, positions=40)
CARD = (REPOSITORY / "configs" / "recipes" / "cards" / "2quad.json").read_bytes()
RECIPE = (REPOSITORY / "configs" / "recipes" / "2quad-freediv.yaml").read_bytes()


@dataclass(frozen=True)
class Reader:
    """`read(directory)` reads the file of this name, which is sound at first; it may raise what is declared."""

    file: str
    sound: bytes
    read: Callable[[Path], object]
    raises: tuple[type[Exception], ...] = (UserError,)

    def with_other(self, directory: Path, content: bytes) -> Path:
        path = directory / self.file
        directory.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
        return directory


def in_front(card: dict[str, Any]) -> bytes:
    return f"---\n{yaml.safe_dump(card)}---\n".encode("utf-8", "surrogatepass")


def read_cards(directory: Path) -> None:
    read_card(directory)
    assert all(cell.isprintable() for row in rows([read_result("model", directory)]) for cell in row)


def read_records(directory: Path) -> None:
    run, _ = read_run(directory / "run")
    shown = StringIO()
    print_costs(run, Console(file=shown, no_color=True, width=200))
    assert all(line.isprintable() for line in shown.getvalue().split("\n"))


def read_run_directory(directory: Path) -> None:
    with RunDirectory(directory, {"command": "convert"}):
        pass


def read_store(directory: Path) -> None:
    store = ModelStore(directory)
    store.stored()
    assert store.active == ""
    store.spent(MODEL_ID)
    store.manifest(MODEL_ID)


def sound_files(directory: Path) -> dict[str, Reader]:
    directory.chmod(0o700)
    share_files.write_share(directory, "classifier", "bias", share(np.zeros(2))[0])
    part = "classifier+bias.share"
    manifest = share_files.Manifest(
        model_id=MODEL_ID, architecture=ARCHITECTURE, output="label", bundle_sha256="00", rank=0, protocol="ABY3",
        field="FM64", fraction_bits=18,
    )  # fmt: skip
    kept = json.dumps({"model_id": MODEL_ID, "key": "0" * 64}).encode()
    of_store = (UserError, ValueError)
    return {
        "card": Reader("measurements.json", CARD, read_cards),
        "card of old": Reader("README.md", in_front({"freediv": json.loads(CARD)}), read_cards),
        "recipe": Reader("recipe.yaml", RECIPE, lambda place: read_recipe(place / "recipe.yaml")),
        "records": Reader("run", make_run_cost().model_dump_json().encode(), read_records),
        "run": Reader("run.json", b'{"command": "convert"}', read_run_directory),
        "manifest": Reader("manifest.json", manifest.model_dump_json().encode(), share_files.read_manifest),
        "share": Reader(
            part, (directory / part).read_bytes(), lambda p: share_files.read_share(p, "classifier", "bias")
        ),
        "active": Reader("active", f"{'1' * 32}\n".encode(), read_store, of_store),
        "spent": Reader(f"{MODEL_ID}/spent.json", b'{"alice": 3}', read_store, of_store),
        "randomness": Reader(f"uploads/{'00' * 32}.json", kept, lambda place: begin_sharing(place, bytes(32))),
        "revoked": Reader("revoked", b"# whom\ndata-owner/alice\n", lambda place: read_revoked(place / "revoked")),
    }


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    return sound_files(tmp_path_factory.mktemp("sound"))


NAMES = (
    "card", "card of old", "recipe", "records", "run", "manifest", "share", "active", "spent", "randomness", "revoked"
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(fuzz, max_examples=60)
@given(data=st.data())
def test_a_file_is_read_or_refused_in_one_line(
    readers: dict[str, Reader], name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reader = readers[name]
    contents = [damaged(reader.sound), st.binary(max_size=200)]
    if reader.sound.startswith(b"{"):
        contents.append(altered(json.loads(reader.sound)).map(lambda found: json.dumps(found).encode()))
    if name == "recipe":
        contents.append(altered(yaml.safe_load(reader.sound)).map(lambda found: json.dumps(found).encode()))
    if name == "card of old":
        front = yaml.safe_load(reader.sound.split(b"---\n")[1])
        contents.append(altered(json.loads(json.dumps(front))).map(in_front))
    read_or_refuse(reader, tmp_path_factory.mktemp("file"), data.draw(st.one_of(contents)))


def read_or_refuse(reader: Reader, directory: Path, content: bytes) -> None:
    try:
        reader.read(reader.with_other(directory, content))
    except reader.raises as error:
        assert not isinstance(error, UserError) or str(error).isprintable()


BOMB = b"a: &a [x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (n + 1, n + 1, b", ".join([b"*%c" % n] * 8)) for n in range(97, 110)
)
"""Eight times eight times eight: a few hundred bytes of YAML that are 2^42 when somebody writes them out."""
ODD = [
    b"", b"\xff\xfe", b"[" * 100_000, b"{" * 100_000, b'{"a":' * 50_000, b"null", b"[]", b"NaN", b"1e999", b"9" * 5000,
    b"---\n" * 3, BOMB, BOMB + b"name: *n\ndata: *n\n",
    b"---\nfreediv: {accuracy: {dev: {correct: 5, count: 0}}}\n---\n",
    b"---\nfreediv: {accuracy: {dev: {correct: .inf, count: .nan}}}\n---\n",
    b'{"accuracy": {"dev": {"correct": 5, "count": 0}}}', b'{"accuracy": {"dev": {"correct": Infinity, "count": NaN}}}',
    b"---\n" + BOMB + b"freediv: {accuracy: {dev: {correct: 1, count: 2}}, recipe: *n}\n---\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_no_fuzzing_finds_is_read_or_refused(readers: dict[str, Reader], name: str, tmp_path: Path) -> None:
    for number, content in enumerate(ODD):
        read_or_refuse(readers[name], tmp_path / str(number), content)


ESCAPE = "\x1b[2J\x1b]0;owned\x07"


def test_records_show_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    """Escapes in the name of a model or a protocol are shown, not obeyed; a stage's is one, or refused."""
    sound = make_run_cost().model_dump(mode="json")
    (tmp_path / "run").write_text(json.dumps(sound | {"model": ESCAPE, "protocol": ESCAPE, "spu": ESCAPE}))
    run, _ = read_run(tmp_path / "run")
    assert run.model == run.protocol == run.spu == one_line(ESCAPE) and run.model.isprintable()
    for party in sound["requests"][0]["parties"]:
        party["stages"][0]["stage"] = ESCAPE
    (tmp_path / "run").write_text(json.dumps(sound))
    with pytest.raises(UserError, match="a name is no stage's"):
        read_records(tmp_path)


def test_each_file_is_sound_at_first(readers: dict[str, Reader], tmp_path: Path) -> None:
    """What is damaged got as far as it could."""
    assert set(readers) == set(NAMES)
    for name, reader in readers.items():
        if name not in ("active", "spent"):  # of a model that is not there
            reader.read(reader.with_other(tmp_path / name, reader.sound))


@settings(fuzz, max_examples=60)
@given(data=st.data())
def test_a_roles_certificate_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.getbasetemp() / "certificates"
    if not directory.exists():
        render(free_topology("test"), directory)
    config = read_party_config(directory / "party-0")
    path = data.draw(st.sampled_from([config.ca, config.certificate, config.key]))
    sound = path.read_bytes()
    path.write_bytes(data.draw(damaged(sound) | st.binary(max_size=200)))
    try:
        read_identity(config)
    except UserError as error:
        assert str(error).isprintable()
    finally:
        path.write_bytes(sound)
