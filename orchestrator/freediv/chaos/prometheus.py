"""The Prometheus of this machine that watches the parties, restarted."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Collection

import psutil

from ..errors import UserError
from .scene import wait_for

_TIMEOUT_S = 60.0


class Prometheus:
    """A running Prometheus.

    Args:
        address: such as `http://127.0.0.1:9090`.
        metrics_ports: of the parties.
    """

    def __init__(self, address: str, metrics_ports: Collection[int]) -> None:
        self._address = address.rstrip("/")
        self._ports = {str(port) for port in metrics_ports}

    def problem(self) -> str:
        """Why there is none that watches these parties; empty if there is."""
        if not self._seen():
            return f"no Prometheus at {self._address} watches these parties; name it with --prometheus"
        return "" if self.process() is not None else f"what listens at {self._address} is no process of this user"

    def restart(self) -> None:
        """End it as an operator would, start it with the same command, and wait until it has seen all parties again.

        Raises:
            UserError: it does not come back.
        """
        process = self.process()
        if process is None:
            raise UserError(self.problem())
        command, directory, environment = process.cmdline(), process.cwd(), process.environ()
        process.terminate()
        process.wait(_TIMEOUT_S)
        subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(lambda: self._seen() == self._ports or None, _TIMEOUT_S, "Prometheus sees all parties again")

    def _seen(self) -> set[str]:
        """Metrics ports of parties that it scraped without an error."""
        try:
            with urllib.request.urlopen(f"{self._address}/api/v1/targets", timeout=5) as answer:  # noqa: S310
                targets = json.load(answer)["data"]["activeTargets"]
            ports = {target["scrapeUrl"].split("//")[1].split("/")[0].rpartition(":")[2]: target for target in targets}
            return {port for port, target in ports.items() if port in self._ports and target["health"] == "up"}
        except (OSError, ValueError, LookupError, urllib.error.URLError):
            return set()

    def process(self) -> psutil.Process | None:
        """What listens there; None where it is no Prometheus that this user may end."""
        port = int(self._address.rpartition(":")[2])
        for process in psutil.process_iter():
            try:
                if process.name() == "prometheus" and any(
                    end.status == psutil.CONN_LISTEN and end.laddr.port == port
                    for end in process.net_connections("tcp")
                ):
                    return process
            except psutil.Error:
                continue
        return None
