"""How virtual devices fall short of being there all the time at full speed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raysplit.utils.frozen import Frozen


class AvailabilityConfig(Frozen):
    """When virtual devices are slow, drop out or are away; everything is drawn by the run's seed.

    >>> AvailabilityConfig(dropout=0.1).slowdown
    5.0
    """

    stragglers: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The probability that a device is slow in a round."""
    slowdown: Annotated[float, Field(ge=1)] = 5.0
    """How many times as long a slow device takes."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The probability that a device that was drawn for a round drops out of it: the round goes on without it."""
    hours: Annotated[float, Field(gt=0, le=24)] = 24.0
    """For how many hours of each day of the virtual clock a device may be drawn, from an hour of its own on."""
