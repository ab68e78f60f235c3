"""Cut a model in two: where it can be cut, what each cut costs, and the two halves."""

from raysplit.split.cuts import Cut, ModelCuts, find_cut, find_cuts, list_cuts
from raysplit.split.halves import ModelHalf, SplitModel, split_at, split_model
from raysplit.split.profile import CutProfile, count_flops, profile
from raysplit.split.tracer import TracedModel, trace

__all__ = [
    "Cut",
    "CutProfile",
    "ModelCuts",
    "ModelHalf",
    "SplitModel",
    "TracedModel",
    "count_flops",
    "find_cut",
    "find_cuts",
    "list_cuts",
    "profile",
    "split_at",
    "split_model",
    "trace",
]
