"""What was published, claim by claim, and how ours is measured; and what others have reached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from claims_page.ensembles import (
    COMPARABLE,
    EC_SNN_CALTECH,
    EC_SNN_CIFAR10,
    EC_SNN_GTZAN,
    accuracy_beside_base,
    beside_other_kinds,
    ec_snn_accuracy,
    ec_snn_energy,
    ec_snn_latency,
    latency_of_a_device,
    size_of_a_device,
    what_splitting_pays_for,
)
from claims_page.traffic import (
    NEEDS_SERVER,
    NO_LOSS,
    NO_LOSS_OF_A_LEVEL,
    Measure,
    gain_on_fixed,
    less_than_upload,
    level_by_transfer,
    thin_schedule,
    traffic_at_no_loss,
    traffic_until_target,
)


@dataclass(frozen=True)
class Source:
    """Where claims are from."""

    short: str
    name: str


MUDVARI = Source("Mudvari et al.", "Mudvari et al., ACM TOIT 24(4), 2024 (arXiv 2311.05739)")
ED_VIT = Source("ED-ViT", "ED-ViT: Liu et al., arXiv 2410.11650")
EC_SNN = Source("EC-SNN", "EC-SNN: Yu et al., IJCAI 2024")
OURS = Source("this project", "Targets of this project")
"""Published nowhere; the claims' `section` is empty."""


@dataclass(frozen=True)
class Claim:
    """One figure that was published, or a target."""

    title: str
    source: Source
    section: str
    """Where in the paper."""
    says: str
    setting: str
    """In which the figure was published; empty: in any."""
    rule: str
    """What counts as reached."""
    measure: Measure


@dataclass(frozen=True)
class Anchor:
    """What another method has reached, beside which ours is put."""

    method: str
    source: str
    reduction: str
    counted: Literal["values", "not said"]
    """What the published ratio counts: floats that cross, or not said where it was read."""
    lost: str
    points: float
    """The loss of accuracy at which ours is put beside it; 0.5 where the source only calls it small."""
    setting: str


_PAPER = "VGG-11, CIFAR-10, batch 16, no momentum, 15 epochs at 4 of 128 channels and 7 uncompressed; one seed"
_EC_SNN = "the best epoch was chosen on the test split"

CLAIMS = (
    Claim(
        "Deprune sends 4 times less at no loss",
        MUDVARI,
        "abstract",
        "deprune reduces network usage 4 times against split learning without it, without loss of accuracy",
        _PAPER,
        f"frame bytes of the whole schedule, against its loosest level throughout: at least 4 times less, at most "
        f"{NO_LOSS:g} points lost, equal epochs",
        traffic_at_no_loss,
    ),
    Claim(
        "Deprune sends 4 times less until the same accuracy",
        MUDVARI,
        "abstract; that bytes until an accuracy are meant is a reading of ours",
        "the same figure, as bytes until the accuracy of the uncompressed network",
        _PAPER,
        "frame bytes until validation accuracy is within a point of the result's reference, `split fp32` or the "
        "published uncompressed network; against the loosest level throughout",
        traffic_until_target,
    ),
    Claim(
        "Deprune is 4 points better than a fixed budget",
        MUDVARI,
        "abstract",
        "deprune improves accuracy by 4 percent over compression-aware split learning at a fixed budget",
        _PAPER,
        "test accuracy against the schedule's tightest level throughout: at least 4 points, equal epochs",
        gain_on_fixed,
    ),
    Claim(
        "Prune trains a level in a sixth of the time",
        MUDVARI,
        "abstract",
        "prune reduces the training time of certain models up to 6 times without affecting accuracy",
        "CIFAR-10: 30 + 10 + 10 epochs against 50 from scratch for each level; STL-10: 30 + 15 + 15 against 60",
        f"epochs of a level by transfer against the same level from scratch: at least 6 times fewer, at most "
        f"{NO_LOSS_OF_A_LEVEL:g} points lost; what the levels before it took is not counted, as in the paper",
        level_by_transfer,
    ),
    Claim(
        "A sub-model answers 28.9 times faster",
        ED_VIT,
        "abstract",
        "latency on a device falls up to 28.9 times",
        "three ViTs on five data sets, edge devices; that it is ViT-Base with k = 2 of 12 heads is inferred",
        "latency of one image on one thread, ViT-Base against its sub-model (k = 2 of 12): at least 28.9 times less, "
        "both at one precision and compiled in one way",
        latency_of_a_device,
    ),
    Claim(
        "A sub-model is 34.1 times smaller",
        ED_VIT,
        "abstract",
        "the model's size falls up to 34.1 times",
        "as above; that it is one sub-model against the whole network is inferred from its geometry",
        "weights file of ViT-Base against that of one sub-model at the same precision: at least 34.1 times smaller",
        size_of_a_device,
    ),
    Claim(
        "Fused sub-models are as accurate as the ViT",
        ED_VIT,
        "abstract",
        "test accuracy is comparable to that of the original ViT",
        "three ViTs on five data sets",
        f"fused test accuracy at most {COMPARABLE:g} point below the base, mean over seeds",
        accuracy_beside_base,
    ),
    Claim(
        "ViT sub-models beat Split-CNN and Split-SNN",
        ED_VIT,
        "abstract",
        "better than two methods that deploy CNNs and spiking networks",
        "accuracy, inference time and size; its tables could not be read",
        "fused test accuracy of ten sub-models, trained on equally many images of the same data",
        beside_other_kinds,
    ),
    Claim(
        "EC-SNN on CIFAR-10",
        EC_SNN,
        "Table 1",
        "85.25, 85.28, 85.11 and 84.89 % with 3, 5, 7 and 9 sub-models",
        f"spiking VGG-9; {_EC_SNN}",
        "fused test accuracy at the same number of sub-models, of the same networks on the whole data set",
        partial(ec_snn_accuracy, data="cifar10", published=EC_SNN_CIFAR10, networks=("spiking_vgg9",)),
    ),
    Claim(
        "EC-SNN on GTZAN",
        EC_SNN,
        "Table 1",
        "87.24, 87.30, 87.68 and 86.49 % with 3, 5, 7 and 9 sub-models",
        f"{_EC_SNN}; chunks of one song are in both splits, so that songs are recognized, not genres",
        "as on CIFAR-10, split by song",
        partial(ec_snn_accuracy, data="gtzan", published=EC_SNN_GTZAN),
    ),
    Claim(
        "EC-SNN on Caltech",
        EC_SNN,
        "Table 1",
        "97.92, 97.77, 97.02 and 97.62 % with 3, 5, 7 and 9 sub-models",
        _EC_SNN,
        "as on CIFAR-10",
        partial(ec_snn_accuracy, data="caltech", published=EC_SNN_CALTECH),
    ),
    Claim(
        "EC-SNN saves 60.7 percent of latency",
        EC_SNN,
        "average in the text",
        "latency 60.7 % lower on average",
        "an average over its experiments, among them spiking VGG-9 and VGG-16 on CIFAR-10",
        "latency of the busiest device against the spiking network that it comes from, on one thread",
        ec_snn_latency,
    ),
    Claim(
        "EC-SNN saves 27.7 percent of energy",
        EC_SNN,
        "average in the text",
        "energy 27.7 % lower on average",
        "an average over its experiments; spikes per sample over all layers and time steps stand for energy",
        "spikes per image of the busiest device against the spiking network that it comes from",
        ec_snn_energy,
    ),
    *(
        Claim(
            f"A schedule sends {times} times less",
            OURS,
            "",
            f"{times} times less than fp32 split training, at most {points:g} points below it",
            "",
            f"frame bytes of the whole run, of the most accurate row that sends so little; the device alone at least "
            f"{NEEDS_SERVER:g} points below `split fp32`",
            thin_schedule(times, points),
        )
        for times, points in ((64, 0.2), (200, 0.5))
    ),
    Claim(
        "A schedule sends less than the raw images",
        OURS,
        "",
        "less than the raw images once, at most a point below fp32 split training",
        "",
        f"frame bytes of the whole run, of the most accurate row that sends so little; the device alone at least "
        f"{NEEDS_SERVER:g} points below `split fp32`",
        less_than_upload,
    ),
    Claim(
        "Ten small devices beat one",
        OURS,
        "",
        "ten sub-models are 5 points better than one pruned network of a device's size, and lose 3 at the most with "
        "three devices gone",
        "",
        "`n=10` against `n=1`, which has the same size on a device and the same training cost; ten of all classes each "
        "take ten times that",
        what_splitting_pays_for,
    ),
)

ANCHORS = (
    Anchor("BottleNet++", "logs in the C3-SL repository", "64×", "values", "none", 0.0, "ResNet-50, full CIFAR-10"),
    Anchor("BottleNet++", "logs in the C3-SL repository", "512×", "values", "1.8", 1.8, "ResNet-50, full CIFAR-10"),
    Anchor("BottleNet++", "logs in the C3-SL repository", "16×", "values", "none", 0.0, "VGG-16, full CIFAR-10"),
    Anchor(
        "Ampere", "arXiv 2507.07130, abstract (99.1 %)", "111×", "not said", "gains", 0.0, "many devices, non-IID data"
    ),
    Anchor(
        "SplitFC",
        "arXiv 2307.10805v1, abstract",
        "320×",
        "not said",
        "5.6 above other methods there",
        0.5,
        "MNIST, CIFAR-10, CelebA; many devices",
    ),
    Anchor("FedLite", "arXiv 2201.11865, abstract", "490×", "not said", "minimal", 0.5, "many clients; image and text"),
    Anchor("C3-SL", "arXiv 2207.12397", "16×", "values", "negligible", 0.5, "batch-wise; CIFAR"),
)
