"""The stores that a pool's experiments named."""

from __future__ import annotations

import asyncio
import logging

from raytune_edge.devices.desk import Order
from raytune_edge.errors import OutputError
from raytune_edge.records import Measurement
from raytune_edge.runtimes import DeviceFacts
from raytune_edge.store import Store

__all__ = ["Stores"]

logger = logging.getLogger(__name__)


class Stores:
    """The stores that experiments named, each opened once; SQLite works beside the event loop.

    A store that cannot be opened any more, after the pool had to move to another host, costs no
    measurement.
    """

    def __init__(self) -> None:
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
        store = await self._store_of(order)
        if store is None or not order.use_store:
            return None
        return await asyncio.to_thread(
            store.get,
            order.signature,
            device_name=facts.device_name,
            runtime=facts.runtime,
            timing=order.timing,
            max_age_s=order.max_age_s,
        )

    async def put(self, order: Order, measurement: Measurement) -> None:
        """Keep a measurement where its experiment wants it."""
        if (store := await self._store_of(order)) is not None:
            await asyncio.to_thread(store.put, measurement, order.timing)

    async def _store_of(self, order: Order) -> Store | None:
        if not (order.store and order.signature):
            return None
        if order.store not in self._opened:
            try:
                await self.open(order.store)
            except OutputError as error:
                logger.warning("measurements are not kept: %s", error)
                self._opened[order.store] = None
        return self._opened[order.store]
