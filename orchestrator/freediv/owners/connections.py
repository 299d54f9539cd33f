"""A data owner's connections to all parties, which stay open whoever asks over them, and whatever is renewed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from ..cluster.configuration import OwnerConfig
from ..cluster.credentials import Credentials
from .data_owner import DataOwner, connected


class _Connection:
    """Channels to all parties under one certificate; closed when it is retired and nobody uses it."""

    def __init__(self, owner: DataOwner, stack: AsyncExitStack) -> None:
        self.owner, self._stack = owner, stack
        self._users, self._retired = 0, False

    @asynccontextmanager
    async def used(self) -> AsyncIterator[DataOwner]:
        self._users += 1
        try:
            yield self.owner
        finally:
            self._users -= 1
            if self._retired and not self._users:
                await self._stack.aclose()

    async def retire(self) -> None:
        self._retired = True
        if not self._users:
            await self._stack.aclose()


class Connections:
    """One data owner, for any number of questions at a time; all go over the same channels.

    Raises:
        UserError: its certificate cannot be used.
    """

    def __init__(self, config: OwnerConfig) -> None:
        self.config = config
        self._credentials = Credentials(config)
        self._shown = self._credentials.current()
        self._connection: _Connection | None = None

    @asynccontextmanager
    async def used(self) -> AsyncIterator[DataOwner]:
        """Who asks, with the certificate that the folder has now."""
        identity = self._credentials.current()
        if self._connection is None or identity is not self._shown:
            before, self._shown = self._connection, identity
            stack = AsyncExitStack()
            self._connection = _Connection(await stack.enter_async_context(connected(self.config)), stack)
            if before is not None:
                await before.retire()
        async with self._connection.used() as owner:
            yield owner

    async def close(self) -> None:
        """End them, once nobody uses them any more."""
        if self._connection is not None:
            await self._connection.retire()
