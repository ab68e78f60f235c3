"""Small recordings: tones and noise, as files and as class folders."""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path

import numpy as np

from raysplit.config import (
    AudioConfig,
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    ModelConfig,
    PruneConfig,
    RetrainConfig,
    SplitConfig,
    TrainConfig,
)

AUDIO = AudioConfig(sample_rate=8_000, seconds=0.256, n_mels=16)
"""Images of 16×16 pixels."""
TONES = {"high": 2_500.0, "low": 300.0, "middle": 900.0}


VIT = ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 1, "heads": 3})


def tone(hz: float, seconds: float, rate: int = 8_000, loudness: float = 0.3, phase: float = 0.0) -> np.ndarray:
    """Return the samples of a tone, float64 (N,)."""
    return loudness * np.sin(2 * math.pi * hz * np.arange(round(seconds * rate)) / rate + phase)


def wav(samples: np.ndarray, rate: int = 8_000) -> bytes:
    """Return samples (N,) or (N, channels), full scale at ±1, as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.rint(samples * 32_767).astype("<i2").tobytes())
    return file.getvalue()


def encode(samples: np.ndarray, kind: str, subtype: str | None = None, rate: int = 8_000) -> bytes:
    """Return samples as a file of any format that soundfile writes."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def write_tones(folder: Path, speakers: int = 6, takes: int = 3) -> Path:
    """Write CLASS/SPEAKER_nohash_N.wav: tones in noise, every third of them three chunks long."""
    random = np.random.default_rng(0)
    for name, hz in TONES.items():
        (folder / name).mkdir(parents=True)
        for speaker in range(speakers):
            for take in range(takes):
                seconds = 0.7 if take % 3 == 2 else 0.2
                sound = tone(hz * (1 + speaker / 40), seconds)
                sound += 0.02 * random.standard_normal(len(sound))
                (folder / name / f"s{speaker}_nohash_{take}.wav").write_bytes(wav(sound))
    return folder


def run_config(folder: Path) -> SplitConfig:
    """Return a small run on class folders of recordings."""
    return SplitConfig(
        name="tones_vgg5",
        data=DataConfig(name=f"audio:{folder}", audio=AUDIO, val_fraction=0.2),
        model=ModelConfig(name="vgg5", args={"width": 0.125}),
        cut="features.3",
        train=TrainConfig(epochs=25, batch_size=16, lr=0.05, device="cpu"),
    )


def ensemble_config(folder: Path, model: ModelConfig, epochs: int = 30) -> EnsembleConfig:
    """Return a small ensemble of two sub-models for class folders of recordings."""
    fit = {"batch_size": 16, "optimizer": "adamw", "lr": 3e-3, "device": "cpu"}
    return EnsembleConfig(
        name="tones_tiny",
        data=DataConfig(name=f"audio:{folder}", audio=AUDIO, val_fraction=0.2),
        base=BaseConfig(model=model, train=ClassifierFit.model_validate(fit | {"epochs": epochs})),
        groups=GroupsConfig(n=2),
        prune=PruneConfig(keep=0.67, proxy=16),
        retrain=RetrainConfig.model_validate(fit | {"epochs": -(-epochs // 3)}),
        fusion=FusionConfig(epochs=10, batch_size=16, device="cpu"),
    )
