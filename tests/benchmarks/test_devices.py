"""The benchmark of many devices: rows that can be trained, devices that are killed, and the table of the runs."""

from __future__ import annotations

import json
import math

import pytest

from raysplit.folders.run_dir import RunDir
from raysplit.train.local import train_local
from tests.train.many import many_config


def test_every_row_can_be_trained():
    from many.presets import PRESETS
    from many.rows import CENTRAL, COUNT, ROWS, SHARDS

    for preset in PRESETS.values():
        configs = {name: preset.config(row, 1, "digits") for name, row in ROWS.items()}
        assert all(config.name == name and config.train.seed == 1 for name, config in configs.items())
        assert {config.data.name for config in configs.values()} == {"digits"}
        for name, config in configs.items():
            row = ROWS[name]
            assert config.devices.count == row.devices == (1 if name == CENTRAL else COUNT)
            assert (str(config.devices.shards), config.devices.missing == "skip") == (row.shards, row.killed > 0)
    assert {row.mode for row in ROWS.values() if row.shards == SHARDS[-1]} == {
        "fedavg", "relay", "splitfed_v1", "splitfed_v2", "merged", "freeze_and_cache"
    }  # fmt: skip


def test_two_devices_are_killed_in_each_round(tmp_path):
    from many.faults import train_with_faults

    config = many_config("merged", count=4, epochs=3, missing="skip", round_steps=4)
    config = config.replaced(model={"name": "vgg5", "args": {"width": 0.125}}, cut="features.3")
    stopped = tmp_path / "stopped"

    def stop(epoch: int, *_: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_with_faults(config, str(stopped), stop, killed=2)
    for place in (stopped, tmp_path / "whole"):
        train_with_faults(config, str(place), lambda *_: None, killed=2)
    runs = [RunDir.at(str(place)) for place in (stopped, tmp_path / "whole")]
    reasons = [record.reason for record in runs[0].records()]
    lost = [reason.partition("; without device ")[2] for reason in reasons]
    assert all(len(text.split(", ")) == 2 for text in lost) and len(set(lost)) > 1
    assert reasons == [record.reason for record in runs[1].records()]
    assert runs[0].read("device.safetensors") == runs[1].read("device.safetensors")
    kept = train_local(config.replaced(devices=config.devices.replaced(missing="wait")), str(tmp_path / "kept"))
    assert RunDir.at(kept.run_dir).read("device.safetensors") != runs[0].read("device.safetensors")


@pytest.fixture
def runs():
    """A central run that ends at 80 %, and two seeds of three others."""
    from traffic.runs import EpochResult, RunResult

    def run(row, seed, accuracies, size, modes=()):
        epochs = [
            EpochResult(
                level="all·b32/b32",
                mode=mode,
                frame_bytes=size,
                header_bytes=1,
                label_bytes=1,
                val_accuracy=accuracy,
                test_accuracy=None,
                train_s=2.0,
                predicted_s={"wifi": 3.0, "iot": 9.0},
            )
            for accuracy, mode in zip(accuracies, modes or ["joint"] * len(accuracies), strict=True)
        ]
        about = {"settings": "s", "raw_bytes": 1, "commits": ("c",), "machines": ("m",)}
        return RunResult(row=row, seed=seed, accuracy=accuracies[-1] + seed / 100, epochs=tuple(epochs), **about)

    return [
        run("central", 0, [0.5, 0.8], 7),
        *(run("SplitFed v1, iid", seed, [0.3, 0.6], 40_000_000) for seed in (0, 1)),
        *(run("FedAvg, iid", seed, [0.3, 0.6], 1_000_000, ["alone"] * 2) for seed in (0, 1)),
        run("freeze and cache, iid", 0, [0.9, 0.6, 0.76], 500_000, ["alone", "frozen", "cached"]),
    ]


def test_the_table_says_what_an_accuracy_took(runs):
    from many.rows import ROWS
    from many.table import as_text, lines

    table = {line["name"]: line for line in lines(runs, ROWS)}
    fedavg, v1 = table["FedAvg, iid"], table["SplitFed v1, iid"]
    assert list(table) == ["central", "FedAvg, iid", "freeze and cache, iid", "SplitFed v1, iid"]
    assert (fedavg["accuracy_mean"], fedavg["seeds"], fedavg["shards"], fedavg["devices"]) == (60.5, 2, "iid", 10)
    assert fedavg["accuracy_std"] == pytest.approx(math.sqrt(0.5)) and table["central"]["accuracy_std"] is None
    assert (fedavg["bytes_per_device"], v1["bytes_per_device"]) == (200_000, 8_000_000)
    assert (fedavg["gb_to_95"], fedavg["gb_to_v1"], v1["gb_to_v1"]) == (None, 0.002, 0.08)
    frozen = table["freeze and cache, iid"]
    assert (frozen["gb_to_95"], frozen["gb_to_v1"]) == (0.0015, 0.001), "what the devices' own heads reach is not it"
    assert frozen["seconds"] == 9.0 and frozen["predicted_s"] == {"wifi": 9.0, "iot": 27.0}
    text = as_text(list(table.values()))
    assert "60.50 ± 0.71" in text and len(text.splitlines()) == 5


def test_splitfed_v1_has_fedavgs_weights_where_it_was_not_trained(runs):
    from many.rows import ROWS
    from many.table import as_text, lines

    v1, fedavg = "SplitFed v1, iid", "FedAvg, iid"
    without = [run for run in runs if run.row != v1]
    assert v1 not in {line["name"] for line in lines(without, ROWS)}, "how much crosses is not known"
    v2 = [run.replaced(row="SplitFed v2, iid", accuracy=0.1) for run in runs if run.row == v1]
    table = {line["name"]: line for line in lines([*without, *v2], ROWS)}
    known = {line["name"]: line for line in lines(runs, ROWS)}
    assert (table[v1]["trained"], known[v1]["trained"], table[fedavg]["trained"]) == (False, True, True)
    same = ("accuracy_mean", "accuracy_std", "seeds", "bytes_per_device", "gb_to_95", "gb_to_v1")
    assert [table[v1][key] for key in same] == [known[v1][key] for key in same]
    assert table[v1]["seconds"] is None and as_text(list(table.values()))


def test_a_result_without_the_central_run_has_no_table(runs, tmp_path):
    from devices import write_result
    from many.presets import PRESETS
    from many.rows import ROWS
    from traffic.store import RunStore

    from raysplit.config import SplitConfig

    preset = PRESETS["quick"]
    configs: list[SplitConfig] = [preset.config(ROWS[name], 0, None) for name in ("central", "FedAvg, iid")]
    store = RunStore(tmp_path / "made_up_runs.jsonl", tmp_path / "work")
    assert write_result(store, configs, "made_up", "notes", tmp_path)[0] == []
    from traffic.runs import settings_id

    first = {run.row: run for run in reversed(runs)}
    store.write(first[config.name].replaced(settings=settings_id(config)) for config in configs)
    assert all(store.has(config) for config in configs)
    table, missing = write_result(store, configs, "made_up", "notes", tmp_path)
    assert [line["name"] for line in table] == ["central", "FedAvg, iid"] and not missing
    written = json.loads((tmp_path / "made_up.json").read_text())
    assert written["rows"] == table and "76.00 %" in written["meta"]["gb_to_95"]
    assert (tmp_path / "made_up.png").read_bytes().startswith(b"\x89PNG")
