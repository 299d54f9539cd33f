"""One direction between two processes of this machine, cut without touching its network or its firewall."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from ..errors import UserError

_PIDFD_GETFD = 438
"""System call, the same number on all architectures (Linux 5.6)."""
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A classic BPF program of one instruction, `ret #0`: keep no byte of any packet."""
_BETWEEN_S = 0.05


class NotPermitted(UserError):  # noqa: N818 (a reason to leave the fault out)
    """This user may not reach into the sockets of that process."""


@contextmanager
def cut(sender: psutil.Process, receiver: psutil.Process) -> Iterator[None]:
    """Let no packet of `sender` reach `receiver` while the context is open; those the other way arrive.

    Every TCP socket of the receiver whose other end is the sender's gets a filter that drops what comes in,
    acknowledgements too: to both ends it looks as if the network lost it. Sockets that they open meanwhile as well.

    Raises:
        NotPermitted: it takes the right to trace the receiver.
    """
    over, filtered = threading.Event(), dict[int, socket.socket]()

    def filter_new() -> None:
        for number in _between(sender, receiver):
            if number not in filtered:
                filtered[number] = _borrowed(receiver, number)
                _set_filter(filtered[number])

    def keep_filtering() -> None:
        while not over.wait(_BETWEEN_S):
            with suppress(psutil.Error, OSError, UserError):
                filter_new()

    filter_new()
    thread = threading.Thread(target=keep_filtering, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for end in filtered.values():
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            end.close()


def _between(sender: psutil.Process, receiver: psutil.Process) -> list[int]:
    """The receiver's descriptors of connections to the sender."""
    theirs = {end.laddr for end in sender.net_connections("tcp") if end.status == psutil.CONN_ESTABLISHED}
    return [end.fd for end in receiver.net_connections("tcp") if end.raddr in theirs]


def _borrowed(process: psutil.Process, descriptor: int) -> socket.socket:
    """The same open socket as a process's descriptor."""
    system = ctypes.CDLL(None, use_errno=True)
    handle = os.pidfd_open(process.pid)
    try:
        if not process.is_running():  # the number was another process's by now
            raise psutil.NoSuchProcess(process.pid)
        own = system.syscall(_PIDFD_GETFD, handle, descriptor, 0)
    finally:
        os.close(handle)
    if own < 0:
        number = ctypes.get_errno()
        raise NotPermitted(f"this user may not trace the parties' workers ({os.strerror(number)}): try it as root")
    return socket.socket(fileno=own)


def _set_filter(end: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP_ALL)
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))
