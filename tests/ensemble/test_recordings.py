"""An ensemble for recordings: accuracies are of recordings, and its bundle says how to decode them."""

from __future__ import annotations

import json

import pytest
import torch

from raysplit.cli.main import main
from raysplit.config import AudioConfig, ModelConfig
from raysplit.data import load
from raysplit.data.clips import average_chunks, label_clips
from raysplit.ensemble.build import build_ensemble
from raysplit.ensemble.bundle import KIND, load_ensemble
from raysplit.ensemble.manifest import EnsembleManifest
from raysplit.folders.build_dir import BuildDir
from raysplit.utils.bundle import open_bundle
from tests.sounds import AUDIO, ensemble_config, tone, wav

pytestmark = pytest.mark.usefixtures("sound_cache")


def test_accuracies_are_of_recordings(audio_ensemble):
    folder, ensemble = BuildDir.at(str(audio_ensemble)), load_ensemble(str(audio_ensemble / "bundle"))
    summary, test = folder.summary(), load(folder.config().data, "test")
    answers = average_chunks(ensemble.predict(test.images), test.chunks).argmax(1)
    labels = label_clips(test.labels, test.chunks)
    assert summary.accuracy == pytest.approx((answers == labels).float().mean().item())
    assert summary.test_images == len(labels) == sum(map(sum, summary.confusion)) < len(test.labels)
    assert summary.accuracy > 0.6  # of three classes


def test_the_manifest_says_how_recordings_are_decoded(audio_ensemble, tiny_ensemble, capsys):
    manifests = [open_bundle(str(place / "bundle"), KIND).about for place in (audio_ensemble, tiny_ensemble)]
    assert [AudioConfig.model_validate(one["audio"]) if "audio" in one else None for one in manifests] == [AUDIO, None]
    assert load_ensemble(str(audio_ensemble / "bundle")).manifest.input.audio == AUDIO
    assert main(["inspect", str(audio_ensemble / "bundle")]) == 0
    assert "of sound:  0.256 s each, 8000 samples/s" in capsys.readouterr().out
    of_other_shape = dict(load_ensemble(str(audio_ensemble / "bundle")).manifest) | {"audio": AudioConfig()}
    with pytest.raises(ValueError, match="audio makes images of shape"):
        EnsembleManifest.model_validate(of_other_shape)


@pytest.mark.parametrize("name", ["vgg5", "spiking_vgg5"])
def test_the_other_families_take_recordings(recordings, tmp_path, name):
    model = ModelConfig(name=name, args={"width": 0.125})
    config = ensemble_config(recordings, model, epochs=2)
    summary = build_ensemble(config, str(tmp_path))
    assert summary.kind == ("cnn" if name == "vgg5" else "snn")
    assert summary.test_images == sum(map(sum, summary.confusion)) == 9  # of one speaker
    test = load(config.data, "test")
    answers = average_chunks(load_ensemble(summary.bundle).predict(test.images), test.chunks).argmax(1)
    assert (answers == label_clips(test.labels, test.chunks)).float().mean().item() == pytest.approx(summary.accuracy)


@pytest.mark.parametrize("missing", [[], [1]])
def test_predict(audio_ensemble, tmp_path, capsys, missing):
    bundle = str(audio_ensemble / "bundle")
    (tmp_path / "a.wav").write_bytes(wav(tone(900, 0.8)))
    words = ["--missing", ",".join(map(str, missing))] if missing else []
    assert main(["predict", bundle, str(tmp_path / "a.wav"), "--json", *words]) == 0
    [found] = json.loads(capsys.readouterr().out)["images"]
    ensemble = load_ensemble(bundle)
    chunks = torch.from_numpy(ensemble.manifest.input.decode(tmp_path / "a.wav"))
    assert len(chunks) == 4
    best = ensemble.predict(chunks, missing).mean(0).topk(3)
    assert [one["class"] for one in found["top"]] == [ensemble.manifest.classes[i] for i in best.indices]
    assert [one["probability"] for one in found["top"]] == pytest.approx(best.values.tolist())
