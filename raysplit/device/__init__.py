"""What runs on a device at inference: the device half, the codec, and a client of the server half. No Ray in here."""

from raysplit.device.client import Answer, DeviceClient, Named, Seconds

__all__ = ["Answer", "DeviceClient", "Named", "Seconds"]
