"""The edge of every command: what it needs of its process, and what is said of an error, foreseen or not."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from ..errors import UserError, one_line
from ..interrupts import end_alike
from ..process import forbid_core_dumps
from ..terminal import replace_what_cannot_be_shown

TRACEBACK = "FREEDIV_TRACEBACK"
"""Environment variable: where it is set, an error also shows where in the code it arose."""
_FEWEST_FILES, _FILES = 128, 4096
_ROOM = 1 << 16
_OF_THE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EFBIG, errno.ENOMEM}
_LONGEST = 300


def run(command: Callable[[], object]) -> None:
    """Run a command, and end the process.

    What a user can mend is one line on standard error and exit status 2; what nobody foresaw is one line, too, and exit
    status 1.
    """
    forbid_core_dumps()  # sentences, weights, keys, shares: every role holds something
    end_alike()
    replace_what_cannot_be_shown()
    try:
        with _explained():
            _allow_files()
            _check_output()
            command()
    except UserError as error:
        _say(str(error))
        sys.exit(2)
    except Exception as error:
        _say(
            f"{type(error).__name__}: {str(error)[:_LONGEST]} (freediv did not foresee this; "
            f"{TRACEBACK}=1 in the environment shows where it arose)"
        )
        sys.exit(1)
    finally:
        _flush()


def _say(text: str) -> None:
    if os.environ.get(TRACEBACK):
        traceback.print_exc()
    with contextlib.suppress(OSError):  # nobody can be told; the exit status says it
        click.echo(f"error: {one_line(' '.join(text.split()))}", err=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of other libraries and of the system that a user can mend, as such.

    Raises:
        UserError: one of those.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.filename is not None and error.filename == os.environ.get("SSLKEYLOGFILE"):
            raise UserError(f"SSLKEYLOGFILE={error.filename}: {_reason(error)}; unset it") from error
        if error.filename is not None:
            raise UserError(f"{os.fsdecode(error.filename)}: {_reason(error)}") from error
        if error.errno in _OF_THE_SYSTEM:
            raise UserError(_reason(error)) from error
        raise
    except MemoryError as error:
        raise UserError("there is not enough memory for this") from error
    except Exception as error:
        if _lacks_device():
            raise UserError(
                f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: JAX finds no such device on this machine; unset it, or "
                "set it to cpu"
            ) from error
        raise


def _lacks_device() -> bool:
    """Whether the user chose a device for JAX that it does not find: it says so in many ways."""
    if "jax" in sys.modules and os.environ.get("JAX_PLATFORMS"):
        try:
            sys.modules["jax"].devices()
        except Exception:
            return True
    return False


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _allow_files() -> None:
    """Let this process and its children open as many files as they may.

    Raises:
        UserError: those are too few for any role.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if wanted < _FEWEST_FILES:
        raise UserError(f"only {hard} files may be open at once; freediv needs {_FEWEST_FILES}: raise `ulimit -n`")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_output() -> None:
    """Find out before any work is done that its result cannot be printed.

    Raises:
        UserError: standard output is closed, or a full disk.
    """
    try:
        found = os.fstat(1)
        if stat.S_ISREG(found.st_mode):
            space = os.fstatvfs(1)
            if space.f_blocks and space.f_bfree * space.f_frsize < _ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(1, b"")  # a full device says so
    except OSError as error:
        raise UserError(f"standard output: cannot be written ({_reason(error)}); direct it elsewhere") from None


def _flush() -> None:
    """Print what is left, where that can be: the interpreter would complain at its very end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
