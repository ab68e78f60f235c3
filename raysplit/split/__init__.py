"""Where a model can be cut, what each cut costs, and the two halves."""

from raysplit.split.cuts import Cut, Cuts, cuts_of, find_cut, find_cuts
from raysplit.split.halves import Half, Halves, halve, halves_of
from raysplit.split.profile import CutProfile, count_flops, profile
from raysplit.split.tracer import Traced, trace

__all__ = [
    "Cut",
    "CutProfile",
    "Cuts",
    "Half",
    "Halves",
    "Traced",
    "count_flops",
    "cuts_of",
    "find_cut",
    "find_cuts",
    "halve",
    "halves_of",
    "profile",
    "trace",
]
