"""What runs on a device at inference: the device half, the codec, and a client of the server half. No Ray in here."""

from raysplit.device.client import ClassProbability, ClientPrediction, DeviceClient, Seconds

__all__ = ["Answer", "DeviceClient", "Named", "Seconds"]
