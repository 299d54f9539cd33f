"""How a door bears many callers, beside as many data owners without a door: `python tests/door/load.py DIR`.

Locust asks the door, then `freediv load-test` asks the parties, for as long, on the same machine. Exit status 1 if a
request was lost or answered wrongly, memory grew, the door was slower by more than 5 %, or took more than 5 % of a
request's time itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from freediv.cluster.folders import owner_folders
from freediv.cluster.ports import free_ports
from freediv.deploy.demonstration import read_sentences
from freediv.owners.data_owner import infer
from freediv.process import memory_bytes

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LENGTH = 16
"""The bucket of the demo's sentences, in which both ask."""


@dataclass(frozen=True)
class Borne:
    """What came of it.

    Attributes:
        answered, failed: requests; what failed was lost or wrong.
        per_second: requests.
        seconds: that a request took, on average, and of these the door's own.
        memory: bytes that the door held after a third of the time, and in the end.
    """

    answered: int
    failed: int
    per_second: float
    seconds: float
    own_seconds: float
    memory: tuple[int, int]


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[str, int]]:
    """A door before a deployment: its address and process id."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    door = subprocess.Popen([sys.executable, "-m", "freediv", "serve", str(folder), "--listen", address])
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/health"):
                break
            assert time.monotonic() < deadline, "the door is not well"
            time.sleep(0.2)
        yield f"http://{address}", door.pid
    finally:
        door.terminate()
        door.wait(30)


def own_and_count(address: str) -> tuple[float, float]:
    """Seconds that the door spent itself, and requests."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        text = answer.read().decode()
    own, count = (re.search(rf"^freediv_door_own_seconds_{of} (\S+)$", text, re.MULTILINE) for of in ("sum", "count"))
    assert own is not None
    assert count is not None
    return float(own[1]), float(count[1])


def bear(folder: Path, callers: int, seconds: int, texts: list[str]) -> Borne:
    """Have callers ask a door for so long."""
    found = infer(folder, texts).predictions
    with tempfile.TemporaryDirectory() as scratch, opened(folder) as (address, pid):
        answers = Path(scratch) / "answers.json"
        answers.write_text(json.dumps([(t, p.name) for t, p in zip(texts, found, strict=True)]), encoding="utf-8")
        command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--json", "--host", address]
        command += ["--locustfile", str(LOCUSTFILE), "--users", str(callers), "--spawn-rate", str(callers)]
        command += ["--run-time", f"{seconds}s", "--stop-timeout", "60", "--exit-code-on-error", "0"]
        environment = os.environ | {"DOOR_ANSWERS": str(answers)}
        before = own_and_count(address)
        asking = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        time.sleep(seconds / 3)
        early = memory_bytes(pid)
        printed = asking.communicate(timeout=seconds + 120)[0]
        after = own_and_count(address)
        late = memory_bytes(pid)
    [stats] = [one for one in json.loads(printed) if one["name"] == "/predict"]
    number, failed = stats["num_requests"], stats["num_failures"]
    lasted = stats["last_request_timestamp"] - stats["start_time"]
    own = (after[0] - before[0]) / max(1.0, after[1] - before[1])
    return Borne(
        number - failed,
        failed,
        number / lasted,
        stats["total_response_time"] / 1000 / max(1, number),
        own,
        (early, late),
    )


def main() -> None:
    """Compare, print, and say by the exit status whether it is borne."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=300)
    given = parser.parse_args()
    folder = owner_folders(given.directory, "data-owner")[0]
    borne = bear(folder, given.callers, given.seconds, read_sentences()[0])
    command = [sys.executable, "-m", "freediv", "load-test", str(given.directory), "--json"]
    command += ["--owners", str(given.callers), "--duration", f"{given.seconds}s"]
    command += ["--length", str(LENGTH)]
    without = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ratio, own = borne.per_second / without["requests_per_second"], borne.own_seconds / borne.seconds
    growth = borne.memory[1] / borne.memory[0] - 1
    print(f"{given.callers} callers, {given.seconds} s: {borne.answered} answered, {borne.failed} lost or wrong")
    print(f"{borne.per_second:.2f} requests/s, {ratio:.2f} times those of load-test")
    print(f"{borne.seconds:.2f} s a request, {own:.1%} of it the door's own; its memory grew by {growth:.1%}")
    sys.exit(bool(borne.failed) or ratio < 0.95 or own > 0.05 or growth > 0.05)


if __name__ == "__main__":
    main()
