"""What a run leaves: no log, metric, report, command line, environment or file holds a text, token, weight or key."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from deployment.conftest import Cluster
from freediv.cluster.configuration import read_party_config
from freediv.cluster.identity import read_identity
from freediv.deploy.local import LocalDeployment
from freediv.errors import UserError
from freediv.model import read_model
from freediv.owners.model_owner import prepare_offer
from tiny import SENTENCES
from tokenizers import Tokenizer

IN_A_ROW = 6
"""Numbers that are looked for together: so many do not stand beside each other by chance."""


class Needles:
    """Forms in which a secret could lie somewhere, by what it is."""

    def __init__(self) -> None:
        self.forms: dict[str, set[bytes]] = {}

    def text(self, what: str, text: str) -> None:
        forms = {text.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-32-le")}
        self.forms[what] = forms | {base64.b64encode(text.encode()).rstrip(b"=")[:-1]}

    def numbers(self, what: str, numbers: np.ndarray, kinds: tuple[str, ...]) -> None:
        forms = {numbers.astype(kind).tobytes() for kind in kinds}
        # As people, JSON and Python's repr write them.
        plain = [repr(number) for number in numbers.tolist()]
        forms |= {separator.join(plain).encode() for separator in (", ", ",", " ", "\n")}
        self.forms[what] = forms

    def raw(self, what: str, content: bytes) -> None:
        self.forms[what] = {
            content,
            content.hex().encode(),
            base64.b64encode(content)[:-4],
            repr(content)[2:-1].encode(),
        }

    def found_in(self, content: bytes) -> list[str]:
        return sorted(what for what, forms in self.forms.items() if any(form in content for form in forms))

    def found(self, places: dict[str, bytes]) -> dict[str, list[str]]:
        """Where which of them lie."""
        looked = {where: self.found_in(content) for where, content in places.items()}
        return {where: what for where, what in looked.items() if what}


@pytest.fixture(scope="module")
def everything(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All that a run with a report wrote or shows, by where it is, but for what is meant for its owner's eyes."""
    scratch = tmp_path_factory.mktemp("scratch")
    report, sentences = scratch / "page.html", scratch.parent / f"{scratch.name}-sentences.txt"
    sentences.write_text("\n".join(SENTENCES))
    command = [sys.executable, "-m", "freediv", "infer", str(cluster.folder("data-owner-alice"))]
    command += ["--file", str(sentences), "--report", str(report)]
    asking = subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(scratch)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    found = {f"the data owner's {name}": value for name, value in _shown(psutil.Process(asking.pid)).items()}
    _, err = asking.communicate(timeout=300)  # what it prints is for its owner
    assert asking.returncode == 0, err
    found["the data owner's standard error"] = err
    local = LocalDeployment(cluster.directory)
    for process in local.strays():
        found |= {f"process {process.pid}'s {name}": value for name, value in _shown(process).items()}
    for party in local.parties:
        url = f"http://127.0.0.1:{party.config.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found[url] = answer.read()
    for path in (*_files(cluster.directory), *_files(scratch)):
        found[str(path)] = path.read_bytes()
    assert report.name in " ".join(found)
    assert sum(".share" in name for name in found) > 50
    return found


def _shown(process: psutil.Process) -> dict[str, bytes]:
    """What other users could see of a process, and what it was given."""
    directory = Path(f"/proc/{process.pid}")
    return {name: (directory / name).read_bytes() for name in ("cmdline", "environ")}


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def test_no_sentence_and_no_token_lies_anywhere(everything: dict[str, bytes], tiny_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    needles = Needles()
    for sentence in SENTENCES:
        needles.text(sentence, sentence)
        ids = np.array(tokenizer.encode(sentence).ids)
        needles.numbers(f"the tokens of: {sentence}", ids, ("<i2", "<i4", "<i8", "<f4", "<f8"))
        fixed = np.round(ids * 2.0**18)
        needles.numbers(f"the shared tokens of: {sentence}", fixed, ("<i8", "<f4"))
    assert needles.found_in(b"... " + SENTENCES[0].encode() + b" ...") == [SENTENCES[0]]  # it does find them
    assert needles.found(everything) == {}


def test_no_weight_lies_in_the_clear(everything: dict[str, bytes], tiny_model: Path) -> None:
    model, offer = read_model(tiny_model), prepare_offer(tiny_model)
    needles = Needles()
    for kind, parameters in (("unfolded", model.parameters), ("folded", offer.parameters)):
        for stage, own in parameters.items():
            for name, value in own.items():
                row = np.asarray(value, np.float32).reshape(-1)[:IN_A_ROW]
                if len(set(row.tolist())) < IN_A_ROW:  # zeros and ones are no secret, and are everywhere
                    continue
                what = f"{stage} {name} {kind}"
                needles.numbers(what, row, ("<f2", "<f4", "<f8"))
                # Both of a parameter's ring elements are interleaved in SPU's own form; ours holds one after another.
                words = np.round(row.astype(np.float64) * 2.0**18).astype("<i8")
                needles.numbers(f"{what} in the ring", words, ("<i8",))
    assert len(needles.forms) > 20
    head = np.asarray(offer.parameters["classifier"]["weight"], np.float32).reshape(-1)
    assert needles.found_in(b"..." + head.tobytes()) != []
    assert needles.found(everything) == {}


def test_no_key_and_no_share_lies_where_it_does_not_belong(everything: dict[str, bytes], cluster: Cluster) -> None:
    needles = Needles()
    for key in cluster.directory.rglob("key.pem"):
        needles.text(str(key), key.read_text().splitlines()[1])
    for party in cluster.local.parties:
        for path in sorted((party.folder / "store").rglob("*.share")):
            needles.raw(str(path), path.read_bytes()[-80:-32])  # of its last words, before the checksum
    assert len(needles.forms) > 50
    elsewhere = {name: content for name, content in everything.items() if not name.endswith((".share", "key.pem"))}
    assert needles.found(elsewhere) == {}


def test_keys_and_shares_are_for_their_owner_only(cluster: Cluster) -> None:
    for path in cluster.directory.rglob("*"):
        private = path.suffix == ".share" or path.name == "key.pem"
        in_store = path.is_dir() and "store" in path.parts[-3:]
        if private or in_store:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_party_refuses_a_key_that_others_may_read(cluster: Cluster) -> None:
    config = read_party_config(cluster.folder("party-1"))
    config.key.chmod(0o640)
    try:
        with pytest.raises(UserError, match="chmod 600"):
            read_identity(config)
    finally:
        config.key.chmod(0o600)


def test_no_process_leaves_a_core_file(cluster: Cluster) -> None:
    processes = LocalDeployment(cluster.directory).strays()
    assert len(processes) == 6  # three parties, three workers
    for process in processes:
        soft, hard = process.rlimit(psutil.RLIMIT_CORE)
        assert 0 <= soft <= 1, process.cmdline()
        assert 0 <= hard <= 1, process.cmdline()
