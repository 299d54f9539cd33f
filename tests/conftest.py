"""What every test may ask for."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# Tests run a program for moments: XLA takes longer to optimise one than that saves. Read as JAX is imported.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# What one of all their processes compiled, the others take, and so do those of the next run.
os.environ["FREEDIV_CACHE"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "freediv")
os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{os.environ['FREEDIV_CACHE']}/jax"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import pytest
from alone import turn
from attacks import outcomes, summary
from browser import Browser
from freediv.cluster import ports

# A shell in the background has its children ignore Ctrl-C; some tests send it, and their processes inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
LONGEST_FIRST = ("door", "faults", "hostile", "deployment", "bench", "mpc", "replicated", "conversion", "containers")
BEGAN = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attacks", action="store_true", help="print docs/attacks.md, and what became of each row")
    parser.addoption("--within", type=float, default=float("inf"), help="seconds after which no test is begun any more")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with turn(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    within = item.config.option.within
    if time.monotonic() - BEGAN > within:
        pytest.skip(f"{within:g} s are over")


def pytest_collection_finish() -> None:
    """What all modules imported stays: searching it for garbage took a tenth of what JAX traces."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    cache = getattr(config, "cache", None)
    earlier: dict[str, str] = cache.get("freediv/outcomes", {}) if cache else {}
    if cache:
        cache.set("freediv/outcomes", earlier | outcomes(terminalreporter.stats))
    if config.option.attacks:
        terminalreporter.section("what was tried | against what | what holds it (docs/attacks.md)")
        for line in summary(terminalreporter.stats, earlier):
            terminalreporter.write_line(line)


def pytest_configure() -> None:
    """Of pytest's processes side by side, each has ports of its own: one is free from its choice to its use."""
    process, processes = (
        int(os.environ.get(name, default).removeprefix("gw"))
        for name, default in (("PYTEST_XDIST_WORKER", "gw0"), ("PYTEST_XDIST_WORKER_COUNT", "1"))
    )
    each = len(ports._BELOW_EPHEMERAL) // processes
    ports._BELOW_EPHEMERAL = ports._BELOW_EPHEMERAL[process * each : (process + 1) * each]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long in one piece comes first, so that all processes end at about the same time."""
    if "PYTEST_XDIST_WORKER" in os.environ and config.option.within == float("inf"):
        place = {folder: i for i, folder in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: place.get(item.path.parent.name, len(place)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from side_by_side import ByDeployment

    return ByDeployment(config, log)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that is not part of the repository: `$FREEDIV_SHARED`, or `shared` beside the clone."""
    directory = Path(os.environ.get("FREEDIV_SHARED", REPOSITORY.parent / "shared"))
    if not (directory / "data").is_dir():
        pytest.skip(f"needs {directory}/data, which is not here; FREEDIV_SHARED can name another place")
    return directory


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("needs Chromium, which is not installed; `make test-setup` as root installs it")
    browser = Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
