"""Inference on a device: the device half, the codec, and a client of the server half. No Ray in here."""

from raysplit.device.client import ClientPrediction, DeviceClient, RequestTiming
from raysplit.wire.split_api import ClassProbability

__all__ = ["ClassProbability", "ClientPrediction", "DeviceClient", "RequestTiming"]
