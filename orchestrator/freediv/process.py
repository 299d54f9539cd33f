"""What a process can know of itself and do to itself, from the kernel (Linux)."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import stat
import struct
from pathlib import Path

import psutil


def peak_memory_bytes(pid: int | str = "self") -> int:
    """The most memory that a process ever held (VmHWM); 0 where it is gone."""
    return _of_status(pid, "VmHWM")


def memory_bytes(pid: int | str = "self") -> int:
    """The memory that a process holds (VmRSS); 0 where it is gone."""
    return _of_status(pid, "VmRSS")


_GROUPS = Path("/sys/fs/cgroup")


def available_memory_bytes() -> int:
    """What this machine could give to a process, or what its container may still take.

    What a container's files have in memory counts as its own, and makes room when that is asked for.
    """
    found = [psutil.virtual_memory().available]
    for directory, most, used in (
        (_GROUPS, "memory.max", "memory.current"),
        (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such group, or `max`
            of_files = re.findall(
                r"^(?:in)?active_file (\d+)$", (directory / "memory.stat").read_text(encoding="ascii"), re.M
            )
            held = int((directory / used).read_text(encoding="ascii")) - sum(map(int, of_files))
            found.append(int((directory / most).read_text(encoding="ascii")) - held)
    return min(found)


def _of_status(pid: int | str, key: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def forbid_core_dumps() -> None:
    """A core would hold shares. A limit of 1 byte, unlike 0, also stops one that goes into a pipe (core(5))."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def wire_bytes() -> tuple[int, int]:
    """Bytes that the kernel sent and received on all TCP connections of this process, framing included.

    From `tcp_info` (tcpi_bytes_acked, tcpi_bytes_received): an independent check of what SPU counts.
    """
    sent = received = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as end:
                if end.family in (socket.AF_INET, socket.AF_INET6) and end.type == socket.SOCK_STREAM:
                    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    acknowledged, got = struct.unpack_from("<QQ", info, 120)
                    sent, received = sent + acknowledged, received + got
    return sent, received
