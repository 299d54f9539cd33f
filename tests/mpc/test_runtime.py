"""What a runtime keeps and forgets."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.sharing.shares import share
from freediv.mpc.spu.profile import ProfileLog
from freediv.mpc.spu.runtime import Runtime
from spu import libspu


def _at_all_parties(call: Any) -> list[Any]:
    log = ProfileLog(os.memfd_create("spu.log"))

    def one(rank: int) -> Any:
        desc = libspu.link.Desc()
        for name in "abc":
            desc.add_party(name, name)
        return call(rank, Runtime(libspu.link.create_mem(desc, rank), ProtocolSettings(), 1, log))

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(one, range(3)))


def test_what_a_request_brought_is_forgotten_and_weights_are_not() -> None:
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

    _at_all_parties(request)
