"""What a runtime keeps and forgets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.secure.profile import ProfileLog
from freediv.secure.protocol import ProtocolSettings
from freediv.secure.runtime import Runtime
from freediv.secure.shares import share
from spu import libspu


def _at_all_parties(tmp_path: Path, call: Any) -> list[Any]:
    log = ProfileLog(tmp_path)

    def one(rank: int) -> Any:
        desc = libspu.link.Desc()
        for name in "abc":
            desc.add_party(name, name)
        return call(rank, Runtime(libspu.link.create_mem(desc, rank), ProtocolSettings(), 1, log))

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(one, range(3)))


def test_what_a_request_brought_is_forgotten_and_weights_are_not(tmp_path: Path) -> None:
    weight, text = share(np.ones((2, 2))), share(np.zeros(3))

    def request(rank: int, runtime: Runtime) -> None:
        runtime.set("weight", weight[rank])
        with runtime.temporary():
            runtime.set("text", text[rank])
            assert [list(word) for word in runtime.get("text").words()] == [list(word) for word in text[rank].words()]
        with pytest.raises(RuntimeError, match="text"):
            runtime.get("text")
        assert runtime.get("weight").shape == (2, 2)
        runtime.delete("weight")
        with pytest.raises(RuntimeError, match="weight"):
            runtime.get("weight")

    _at_all_parties(tmp_path, request)
