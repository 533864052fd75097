"""DRAM devices: their timing tables, and how long transfers take with open rows, misses and refresh."""

from logaccel.dram.device import Clocks, Device, load_device, shipped_devices

__all__ = ["Clocks", "Device", "load_device", "shipped_devices"]
