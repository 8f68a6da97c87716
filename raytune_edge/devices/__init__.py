"""The device pool: requests from any trial, measured on whichever device is free."""

from raytune_edge.devices.connect import connect_devices
from raytune_edge.devices.pool import DevicePool, Pending
from raytune_edge.devices.status import DeviceStatus, PoolStatus

__all__ = ["DevicePool", "DeviceStatus", "Pending", "PoolStatus", "connect_devices"]
