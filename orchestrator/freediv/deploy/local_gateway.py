"""A party's gateway as a process on this machine, where no container runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cluster.configuration import PartyConfig
from ..errors import UserError
from .containers.gateway import CONFIG, WITHOUT_IPV6, GatewayPlace, gateway_config

_SCRIPT = Path(__file__).parent / "containers" / "gateway.lua"
_IPV6 = Path("/proc/net/if_inet6")
_TERMINATE_S = 5.0


def find_haproxy(config: PartyConfig) -> str:
    """The program that a gateway is.

    Raises:
        UserError: it is not on this machine.
    """
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UserError(
            f"party {config.rank}: its link needs a gateway, and there is no haproxy on this machine; install it "
            "(2.6 or newer, with Lua), or start the party in containers"
        )
    return found


@contextmanager
def local_gateway(config: PartyConfig) -> Iterator[tuple[subprocess.Popen[bytes], PartyConfig]]:
    """A party's gateway while the context is open, and the party as it meets it: at sockets that no other user reaches.

    The gateway ends with this process, however that ends.

    As long, a directory `gateway` in the party's folder holds what HAProxy wants in one file: certificate and key.

    Raises:
        UserError: there is no HAProxy, or the party's folder cannot be read or written.
    """
    program, folder = find_haproxy(config), config.folder.resolve()
    private = folder / "gateway"
    with tempfile.TemporaryDirectory(prefix="freediv-gateway-") as sockets:
        config = config.at_sockets(Path(sockets))
        try:
            shutil.rmtree(private, ignore_errors=True)
            private.mkdir(mode=0o700)
            (private / "party.pem").touch(mode=0o600)
            (private / "party.pem").write_bytes(config.certificate.read_bytes() + config.key.read_bytes())
            place = GatewayPlace(folder, private, _SCRIPT)
            (private / CONFIG).write_text(gateway_config(config, place), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{error.filename or private}: {error.strerror}") from None
        command = ["setpriv", "--pdeathsig", "KILL", program, "-db", "-f", str(private / CONFIG)]
        environment = {} if _IPV6.exists() else {WITHOUT_IPV6: "1"}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=os.environ | environment)
        try:
            yield process, config
        finally:
            process.terminate()
            try:
                process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            shutil.rmtree(private, ignore_errors=True)
