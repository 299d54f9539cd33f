"""The log in which SPU counts its own communication.

SPU has no interface for these numbers; with profiling on, every program that it runs ends in a section of its log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from spu import libspu

from ..records import Traffic


@dataclass(frozen=True)
class Operation:
    """All executions of one kind of operation within one program."""

    name: str
    times: int
    seconds: float
    traffic: Traffic


@dataclass(frozen=True)
class Profile:
    """One program's section of the log."""

    program: str
    seconds: float
    traffic: Traffic
    operations: tuple[Operation, ...]


_NUMBER = r"(\d{1,20})"
_SECONDS = r"([0-9.e+-]{1,30})"
_SOURCE = r"\[api\.cc:[^\]]*\] "
_BEGIN = re.compile(_SOURCE + r"\[Profiling\] SPU execution (\S+) completed,.* total time " + _SECONDS + r"s\.$")
_MODULE = re.compile(_SOURCE + r"([A-Z]+) profiling: total time ")
_OPERATION = re.compile(
    _SOURCE + rf"- (\S+), executed {_NUMBER} times, duration {_SECONDS}s, send bytes {_NUMBER} recv bytes {_NUMBER}, "
    rf"send actions {_NUMBER}, recv actions {_NUMBER}$"
)
_END = re.compile(
    _SOURCE + rf"Link details: total send bytes {_NUMBER}, recv bytes {_NUMBER}, send actions {_NUMBER}, "
    rf"recv actions {_NUMBER}$"
)


def read_profiles(log: str) -> list[Profile]:
    """All programs whose sections a log holds, in order; lines of anything else are passed over.

    Of SPU's nested views of the same traffic only the outermost (HLO) is kept, so that operations may be added.

    Raises:
        ValueError: a section does not begin, does not end, or holds a number that is none.
    """
    found: list[Profile] = []
    program: tuple[str, float] | None = None
    module = ""
    operations: list[Operation] = []
    for line in log.splitlines():
        if begin := _BEGIN.search(line):
            if program is not None:
                raise ValueError("a program's section in SPU's log does not end")
            program, operations, module = (begin[1], float(begin[2])), [], ""
        elif heading := _MODULE.search(line):
            module = heading[1]
        elif (row := _OPERATION.search(line)) and module == "HLO":
            name, times, seconds, *counts = row.groups()
            operations.append(Operation(name, int(times), float(seconds), Traffic(*map(int, counts))))
        elif end := _END.search(line):
            if program is None:
                raise ValueError("a program's section in SPU's log does not begin")
            found.append(Profile(*program, Traffic(*map(int, end.groups())), tuple(operations)))
            program = None
    if program is not None:
        raise ValueError("a program's section in SPU's log does not end")
    return found


class ProfileLog:
    """SPU's log of this process: a file that is open and has no name, emptied whenever it has been read."""

    def __init__(self, descriptor: int) -> None:
        self.path = Path(f"/proc/self/fd/{descriptor}")
        options = libspu.logging.LogOptions()
        options.enable_console_logger, options.system_log_path = False, str(self.path)
        options.max_log_file_size, options.max_log_file_count = 1 << 40, 1  # SPU's own rotation would split sections
        options.log_level = libspu.logging.LogLevel.INFO
        libspu.logging.setup_logging(options)

    def take(self) -> list[Profile]:
        """The sections logged since the last call.

        Raises:
            ValueError: as `read_profiles`.
        """
        with self.path.open("r+", encoding="utf-8", errors="replace") as file:
            text = file.read()
            file.truncate(0)  # SPU appends, so its next line begins the file again
        return read_profiles(text)
