"""Records of runs of every schedule, as the schedules themselves decide, with made-up results."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raysplit.config import (
    DataConfig,
    Deprune,
    Fixed,
    FreezeAndCache,
    LocalLoss,
    ModelConfig,
    Nested,
    Phase,
    Prune,
    SplitConfig,
    Stage,
    TrainConfig,
)
from raysplit.folders.reader import RunRecord
from raysplit.records.epoch import ByteCounts, EpochRecord, Mode
from raysplit.records.summary import RunSummary
from raysplit.schedules import ByteBudget, LinkAware, Plateau, RunContext, next_decision
from raysplit.wire.level import Level

TIGHT, LOOSE = Level("c4.b4/b4.zstd"), Level("all.b8/b8")
_LADDER = (TIGHT, LOOSE)
_STAGES = {"learn": Stage(level=TIGHT, share=1), "send": Stage(level=TIGHT, share=2), "views": 1}
SCHEDULES = {
    "fixed": Fixed(level=TIGHT),
    "deprune": Deprune(phases=(Phase(level=TIGHT, share=2), Phase(level=LOOSE, share=1))),
    "nested": Nested(phases=({"levels": (TIGHT, LOOSE), "share": 2}, {"levels": (LOOSE,), "share": 1})),
    "prune": Prune(phases=(Stage(level=LOOSE, share=1), Stage(level=TIGHT, share=1))),
    "plateau": Plateau(ladder=_LADDER, patience=1),
    "link_aware": LinkAware(ladder=_LADDER, step_s=1.0),
    "byte_budget": ByteBudget(ladder=_LADDER, megabytes=1.0),
    "freeze_and_cache": FreezeAndCache(**_STAGES),
    "freeze_and_cache_finish": FreezeAndCache(**_STAGES, finish=Stage(level=LOOSE, share=1)),
}
"""Schedules by name; each but prune can run with a local loss."""
_CROSSING: dict[Mode, tuple[int, int]] = {
    "joint": (1, 1),
    "local": (1, 0),
    "alone": (0, 0),
    "frozen": (1, 0),
    "cached": (0, 0),
}


def _step_bytes(level: Level) -> int:
    return 1_000 * level.up_bits


def make_run(schedule: str, local_loss: bool = False, epochs: int = 6, ended: bool = True) -> RunRecord:
    """Return the record of a run with a schedule of SCHEDULES."""
    name = f"digits_{schedule}{'_local' if local_loss else ''}"
    config = SplitConfig(
        name=name,
        data=DataConfig(name="digits"),
        model=ModelConfig(name="vgg11"),
        cut="features.7",
        schedule=SCHEDULES[schedule],
        train=TrainConfig(epochs=epochs, batch_size=10, local_loss=LocalLoss() if local_loss else None),
    )
    context = RunContext(epochs=epochs, steps=3, step_bytes=_step_bytes, local_loss=local_loss)
    rows: list[EpochRecord] = []
    for epoch in range(epochs):
        decision = next_decision(config.schedule, context, rows)
        up, down = (3 * part * _step_bytes(decision.level) for part in _CROSSING[decision.mode])
        accuracy = 0.9 - 0.5 / (1 + epoch)
        rows.append(
            EpochRecord(
                epoch=epoch,
                level=str(decision.level),
                mode=decision.mode,
                reason=decision.reason,
                val_accuracy=accuracy,
                steps=3,
                bytes=ByteCounts(up_activations=up, down_gradients=down),
                test_accuracy=accuracy if decision.ends_level else None,
                seconds=2.0,
                device_s=0.5,
                server_s=1.0,
                link_s=0.5 if up else 0.0,
            )
        )
    return make_record(config, rows, ended)


def make_record(config: SplitConfig, rows: list[EpochRecord], ended: bool = True) -> RunRecord:
    """Return the record of a run with these epochs."""
    run = RunRecord(f"runs/{config.name}", config, tuple(rows), None)
    return replace(run, summary=_summarize(run)) if ended else run


def write(run: RunRecord, folder: Path) -> str:
    """Write the files of a run directory; return the folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(run.config.model_dump_json())
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([record.to_row() for record in run.epochs]), sink)
    (folder / "metrics.parquet").write_bytes(sink.getvalue())
    if run.summary:
        (folder / "summary.json").write_text(run.summary.model_dump_json())
    return str(folder)


def _summarize(run: RunRecord) -> RunSummary:
    traffic = run.traffic[-1]
    return RunSummary(
        recipe=run.name,
        accuracy=run.epochs[-1].val_accuracy - 0.01,
        bytes_up=sum(record.bytes_up for record in run.epochs),
        bytes_down=sum(record.bytes_down for record in run.epochs),
        seconds=sum(record.seconds for record in run.epochs),
        run_dir=run.path,
        val_accuracy=run.epochs[-1].val_accuracy,
        bytes_evaluation=10_000,
        bytes_checkpoint=397_785,
        bytes_fp32=10_000_000,
        bytes_raw_upload=100_000,
        times_less=10_000_000 / max(1, traffic),
        times_less_than_upload=100_000 / max(1, traffic),
        device_s=sum(record.device_s for record in run.epochs),
        server_s=sum(record.server_s for record in run.epochs),
        link_s=sum(record.link_s for record in run.epochs),
        wait_s=0.0,
        skipped_rows=0,
        classes=tuple("0123456789"),
        shape=(1, 8, 8),
        mean=(0.3,),
        std=(0.4,),
    )
