"""The stores that a pool's experiments named."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from raytune_edge.devices.desk import Order
from raytune_edge.errors import OutputError
from raytune_edge.records import Measurement
from raytune_edge.runtimes import DeviceFacts
from raytune_edge.store import Store

__all__ = ["Stores"]

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class Stores:
    """The stores that experiments named, each opened once; SQLite works beside the event loop.

    No trouble of a store costs a measurement: one that cannot be opened any more, after the pool
    had to move to another host, that goes wrong, or that does not answer within ``patience_s``.
    """

    def __init__(self, *, patience_s: float = 2.0) -> None:
        self._patience_s = patience_s
        self._opened: dict[str, Store | None] = {}

    async def open(self, folder: str) -> None:
        """Open a store.

        Raises:
            OutputError: If its folder cannot be written.
        """
        if self._opened.get(folder) is None:
            self._opened[folder] = await asyncio.to_thread(Store, folder)

    async def get(self, order: Order, facts: DeviceFacts) -> Measurement | None:
        """The kept measurement that may answer, if there is one."""

        def get(store: Store) -> Measurement | None:
            return store.get(
                order.signature,
                device_name=facts.device_name,
                runtime=facts.runtime,
                timing=order.timing,
                max_age_s=order.max_age_s,
            )

        return await self._ask(order, get) if order.use_store else None

    async def put(self, order: Order, measurement: Measurement) -> None:
        """Keep a measurement where its experiment wants it."""
        await self._ask(order, lambda store: store.put(measurement, order.timing))

    async def _ask(self, order: Order, question: Callable[[Store], _Answer]) -> _Answer | None:
        """The store's answer; None where there is none. What takes long goes on by itself."""
        if not order.has_store:
            return None
        try:
            return await asyncio.wait_for(self._answer(order, question), self._patience_s)
        except asyncio.TimeoutError:
            told = "the store %s took longer than %g s: not waited for"
            logger.warning(told, order.store, self._patience_s)
        except Exception:
            logger.warning("the store %s went wrong: done without", order.store, exc_info=True)
        return None

    async def _answer(self, order: Order, question: Callable[[Store], _Answer]) -> _Answer | None:
        store = await self._store_of(order)
        return None if store is None else await asyncio.to_thread(question, store)

    async def _store_of(self, order: Order) -> Store | None:
        if order.store not in self._opened:
            try:
                await self.open(order.store)
            except OutputError as error:
                logger.warning("measurements are not kept: %s", error)
                self._opened[order.store] = None
        return self._opened[order.store]
