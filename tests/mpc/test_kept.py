"""Programs that an earlier process compiled."""

from __future__ import annotations

import fcntl
import hashlib
import stat
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import pytest
from freediv.mpc.spu import kept as module
from freediv.mpc.spu.kept import kept
from freediv.mpc.spu.programs import compile_program


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREEDIV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


class Compiler:
    def __init__(self, code: bytes = b"code") -> None:
        self.code, self.calls = code, 0

    def __call__(self) -> bytes:
        self.calls += 1
        time.sleep(0.2)  # whoever asks meanwhile is there
        return self.code


def test_what_several_need_at_once_is_compiled_once(directory: Path) -> None:
    compiler, found = Compiler(), []
    threads = [threading.Thread(target=lambda: found.append(kept("source", compiler))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, compiler.calls) == ([b"code"] * 3, 1)
    assert kept("another", Compiler(b"other")) == b"other"


def test_a_program_from_disk_is_the_one_that_was_compiled(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_program(lambda x: x * jnp.sum(x), [(2, 5)])
    assert len(list(directory.iterdir())) == 1
    monkeypatch.setattr("spu.libspu.compile", None)
    assert compile_program(lambda x: x * jnp.sum(x), [(2, 5)]).code == first.code
    with pytest.raises(TypeError):
        compile_program(lambda x: x * jnp.sum(x), [(2, 6)])


def test_a_process_that_stands_still_keeps_nobody_waiting(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept("source", Compiler())
    [path] = directory.iterdir()
    monkeypatch.setattr(module, "_PATIENCE_S", 0.1)
    again = Compiler(b"compiled by oneself")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert kept("source", again) == again.code
    assert kept("source", again) == b"code"


@pytest.mark.parametrize("damage", [lambda own: own[:-1], lambda own: own[:40] + b"?" + own[41:], lambda own: b""])
def test_what_is_damaged_is_compiled_again(directory: Path, damage) -> None:
    kept("source", Compiler(b"some code"))
    [path] = directory.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    again = Compiler(b"some code")
    assert [kept("source", again), kept("source", again)] == [b"some code"] * 2
    assert again.calls == 1


def test_it_is_for_its_user_alone(directory: Path) -> None:
    kept("source", Compiler())
    [path] = directory.iterdir()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (directory, path)] == [0o700, 0o600]
    directory.chmod(0o770)
    others = Compiler(b"what this user compiles")
    assert kept("source", others) == others.code


def test_nothing_is_kept_where_nothing_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    (tmp_path / "file").touch()
    for place in ("", str(tmp_path / "file")):
        monkeypatch.setenv("FREEDIV_CACHE", place)
        assert kept("source", compiler) == b"code"
    assert compiler.calls == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_oldest_programs_go(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 2 * len(hashlib.sha256(b"").digest() + Compiler().code))
    for source in ("a", "b", "c"):
        kept(source, Compiler())
    compilers = {source: Compiler() for source in ("c", "b", "a")}
    for source, compiler in compilers.items():
        kept(source, compiler)
    assert [compiler.calls for compiler in compilers.values()] == [0, 0, 1]
