"""What a data owner's machine has to have for a request."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from freediv import process
from freediv.errors import UserError
from freediv.model import Architecture, LayerFunctions
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.owners import session
from freediv.owners.sentences import Batch
from freediv.owners.session import Session

PIECES = 1 << 20


def asking(monkeypatch: pytest.MonkeyPatch, free: int) -> Any:
    """A request of one text and two pieces, for a model that is small but for its vocabulary."""
    architecture = Architecture(
        vocabulary=PIECES, embedding_size=1, hidden=1, layers=1, heads=1, intermediate=1, positions=16,
        label_names=("negative", "positive"), functions=(LayerFunctions(attention="2quad", activation="quad"),),
    )  # fmt: skip
    monkeypatch.setattr(session, "available_memory_bytes", lambda: free)
    config = SimpleNamespace(lookup="rows", request_s=9, world_size=3, settings=ProtocolSettings())
    served = SimpleNamespace(architecture=architecture, table=None)
    one: Any = Session(config, [], served, lambda progress: None, 1)  # type: ignore[arg-type]
    return lambda: one._share(Batch((0,), np.zeros((1, 2), int), np.ones((1, 2), int)))


def test_a_vocabulary_that_is_too_large_for_this_machine_is_refused_before_it_takes_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model of 100 numbers and a million pieces: what sharing a text with it takes is known before it is taken."""
    ask = asking(monkeypatch, 48 * 2 * PIECES)  # and a mask's numbers
    monkeypatch.setattr(session, "prepare_inputs", lambda *arguments, **more: pytest.fail("it took memory"))
    with pytest.raises(UserError, match=r"1 texts of 2 word pieces takes 0\.1 GB .* 1,048,576 pieces; .* are free"):
        ask()


def test_what_sharing_takes_is_no_more_than_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = asking(monkeypatch, 49 * 2 * PIECES)
    tracemalloc.start()
    shares = ask()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shares[0]["one_hot"].shape == (1, 2, PIECES)
    assert 24 * 2 * PIECES < peak < 48 * 2 * PIECES


@pytest.mark.parametrize(
    ("under", "most", "used"),
    [(".", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes")],
)
def test_what_files_have_of_a_containers_memory_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, under: str, most: str, used: str
) -> None:
    group = tmp_path / under
    group.mkdir(exist_ok=True)
    (group / most).write_text("1000000\n", encoding="ascii")
    (group / used).write_text("990000\n", encoding="ascii")
    (group / "memory.stat").write_text(
        "anon 90000\nfile 900000\ninactive_file 600000\nactive_file 300000\n", encoding="ascii"
    )
    monkeypatch.setattr(process, "_GROUPS", tmp_path)
    assert process.available_memory_bytes() == 910_000
