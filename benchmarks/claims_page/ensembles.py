"""Our figures for claims about ensembles of sub-models, from their tables and from ViT-Base's geometry."""

from __future__ import annotations

from claims_page.results import EnsembleRow, EnsembleTable, Results
from claims_page.verdict import Check, Measured, alike, at_least, at_most, needed, number

COMPARABLE = 1.0
"""Points below the base within which an ensemble's accuracy counts as comparable to it."""
EC_SNN_NETWORKS = ("spiking_vgg5", "spiking_vgg9", "spiking_vgg16")
EC_SNN_CIFAR10 = {3: 85.25, 5: 85.28, 7: 85.11, 9: 84.89}
"""Accuracy by number of sub-models: Yu et al., IJCAI 2024, Table 1."""
EC_SNN_GTZAN = {3: 87.24, 5: 87.30, 7: 87.68, 9: 86.49}
EC_SNN_CALTECH = {3: 97.92, 5: 97.77, 7: 97.02, 9: 97.62}
TRAINING_IMAGES = {"cifar10": 50_000}
"""Of the whole data set."""
_WHOLE = 0.9
"""Share of a data set's training images from which on a result is of the whole: the rest is for validation."""


def latency_of_a_device(results: Results) -> list[Measured]:
    """ViT-Base against its sub-model, each pair of networks that was measured."""
    found = []
    for name, geometry in results.geometry.items():
        for pair in geometry.latency:
            checks = (
                needed(
                    "only one of the two is at that precision, or compiled: not what pruning alone gains", pair.alike
                ),
                at_least("latency", pair.ratio, 28.9, "×"),
            )
            figure = f"{pair.ratio:.1f}× ({pair.ms_full:.0f} ms to {pair.ms_submodel:.1f})"
            found.append(Measured(pair.pair, figure, None, name, (geometry.meta.commit,), checks))
    return found


def size_of_a_device(results: Results) -> list[Measured]:
    """ViT-Base's file against that of its sub-model, at each precision."""
    found = []
    for name, geometry in results.geometry.items():
        for precision in ("fp32", "bf16", "int8"):
            full, small = (geometry.mib(model, precision) for model in ("full, 10 classes", "sub-model"))
            figure = f"{full / small:.1f}× ({full:.0f} MiB to {small:.2f}); ten together {full / small / 10:.1f}×"
            checks = (at_least("size", full / small, 34.1, "×"),)
            rows = f"{precision} sub-model against {precision} full"
            found.append(Measured(rows, figure, None, name, (geometry.meta.commit,), checks))
    return found


def accuracy_beside_base(results: Results) -> list[Measured]:
    """Fused ViT sub-models against the ViT that they are cut out of."""
    found = []
    for name, table in results.ensembles.items():
        full = table.row("full")
        if table.kind == "vit" and full is not None:
            for row in table.by_classes:
                figure = f"{_accuracy(row)} of {_accuracy(full)}; a device has {row.mib_device_max:.2f} MiB of "
                figure += f"{full.mib_device_max:.1f}"
                checks = (at_most("below the base", row.below_full, COMPARABLE, " points"),)
                found.append(_measured(name, (row, full), figure, checks))
    return found


def beside_other_kinds(results: Results) -> list[Measured]:
    """Ten ViT sub-models against ten of a CNN and of a spiking network, on the same data."""
    found = []
    for name, table in results.ensembles.items():
        ours = table.row("n=10")
        if table.kind != "vit" or ours is None:
            continue
        for other_name, other_table in results.ensembles.items():
            theirs = other_table.row("n=10")
            if other_table.kind != "vit" and other_table.meta.data == table.meta.data and theirs is not None:
                checks = (
                    alike("training images", table.meta.images, other_table.meta.images),
                    at_least("accuracy", ours.accuracy_mean, theirs.accuracy_mean, " %"),
                )
                figure = f"ViT {_accuracy(ours)}, {other_table.network} {_accuracy(theirs)}"
                commits = tuple(sorted({*ours.commits, *theirs.commits}))
                rows = f"`n=10` against `n=10` of {other_name}"
                found.append(Measured(rows, figure, min(ours.seeds, theirs.seeds), name, commits, checks))
    return found


def ec_snn_accuracy(
    results: Results, data: str, published: dict[int, float], networks: tuple[str, ...] = EC_SNN_NETWORKS
) -> list[Measured]:
    """Fused spiking sub-models against EC-SNN's table, at each number of sub-models that both have."""
    found = []
    for name, table in _spiking(results):
        for row in table.by_classes if table.meta.data == data else ():
            if row.n in published:
                checks = (
                    _published_network(table, networks),
                    _whole_data(table),
                    at_least("accuracy", row.accuracy_mean, published[row.n], " %"),
                )
                figure = f"{_accuracy(row)}, published {published[row.n]:.2f} %"
                found.append(_measured(name, (row,), figure, checks))
    return found


def ec_snn_latency(results: Results) -> list[Measured]:
    """The busiest device of a spiking ensemble against the network that it comes from."""
    found = []
    for name, table in _spiking(results):
        for row in table.by_classes:
            less = 100 * (1 - row.latency_ms_device_max / row.latency_ms_full_like)
            checks = (_published_network(table, EC_SNN_NETWORKS[1:]), at_least("latency saved", less, 60.7, " %"))
            figure = f"{less:.1f} % less ({row.latency_ms_full_like:.2f} ms to {row.latency_ms_device_max:.2f})"
            found.append(_measured(name, (row,), figure, checks))
    return found


def ec_snn_energy(results: Results) -> list[Measured]:
    """Spikes per image, EC-SNN's proxy of energy: the busiest device against the network that it comes from."""
    found = []
    for name, table in _spiking(results):
        for row in table.by_classes:
            if row.spikes_device_max is not None and row.spikes_full is not None:
                less = 100 * (1 - row.spikes_device_max / row.spikes_full)
                checks = (_published_network(table, EC_SNN_NETWORKS), at_least("spikes saved", less, 27.7, " %"))
                figure = f"{less:.1f} % fewer ({row.spikes_full:,.0f} to {row.spikes_device_max:,.0f} spikes)"
                found.append(_measured(name, (row,), figure, checks))
    return found


def what_splitting_pays_for(results: Results) -> list[Measured]:
    """Our own target: ten sub-models against one net of a device's size, and with three devices gone."""
    found = []
    for name, table in results.ensembles.items():
        one = table.row("n=1")
        for ten in (table.row("n=10"), table.row("n=10, all classes each")):
            if ten is None or one is None or ten.lost3 is None:
                continue
            gain, lost = ten.accuracy_mean - one.accuracy_mean, ten.accuracy_mean - ten.lost3
            checks = (
                at_least("above one net of a device's size", gain, 5, " points"),
                at_most("lost with three devices", lost, 3, " points"),
            )
            figure = (
                f"{number(gain, '+')} points at {ten.mib_device_max:.3f} MiB a device; three gone: {number(-lost, '+')}"
            )
            found.append(_measured(name, (ten, one), figure, checks))
    return found


def _spiking(results: Results) -> list[tuple[str, EnsembleTable]]:
    return [(name, table) for name, table in results.ensembles.items() if table.kind == "snn"]


def _published_network(table: EnsembleTable, networks: tuple[str, ...]) -> Check:
    right = table.network in networks and "width" not in table.meta.model
    ours, names = table.meta.model.partition(";")[0], " or ".join(networks)
    return needed(f"network: {ours} against {names} at full width", right)


def _whole_data(table: EnsembleTable) -> Check:
    images, whole = table.meta.images or 0, TRAINING_IMAGES.get(table.meta.data)
    enough = whole is None or images >= _WHOLE * whole
    return needed(f"training images: {images:,} against {whole or 0:,}", enough)


def _measured(result: str, rows: tuple[EnsembleRow, ...], figure: str, checks: tuple[Check, ...]) -> Measured:
    names = " against ".join(f"`{row.name}`" for row in rows)
    commits = tuple(sorted({commit for row in rows for commit in row.commits}))
    return Measured(names, figure, min(row.seeds for row in rows), result, commits, checks)


def _accuracy(row: EnsembleRow) -> str:
    spread = "" if row.accuracy_std is None else f" ± {row.accuracy_std:.1f}"
    return f"{row.accuracy_mean:.1f}{spread} %"
