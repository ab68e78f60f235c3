"""A device that sends recordings: one answer for each, by all of its chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysplit import load_family, load_run
from raysplit.device import DeviceClient
from raysplit.errors import DataError
from raysplit.serving.args import Limits, SplitArgs
from raysplit.serving.split.routes import SplitRoutes
from raysplit.serving.split.server_halves import ServerHalves
from raysplit.wire.split_api import CHUNKS_HEADER, FAMILY_HEADER, LEVEL_HEADER, level_to_header
from tests.device.servers import AppTransport
from tests.serving.split.messages import make_client
from tests.sounds import AUDIO, tone, wav


@pytest.fixture(scope="module")
def family(audio_run):
    return load_family(str(audio_run))


@pytest.fixture(scope="module")
def app(family):
    return SplitRoutes(ServerHalves(family, Limits(images=8)), SplitArgs(family="unused")).app


def test_a_recording_gets_one_answer(family, app, audio_run, tmp_path):
    (tmp_path / "long.wav").write_bytes(wav(tone(300, 0.9)))
    (tmp_path / "short.wav").write_bytes(wav(np.stack([tone(2_500, 0.2, 22_050)] * 2, 1), 22_050))
    files = [tmp_path / "long.wav", tmp_path / "short.wav"]
    network = load_run(str(audio_run))
    with DeviceClient(family, "http://app", target_s=60, transport=AppTransport(app)) as client:
        for given in ([files[0]], [files[1]], files):
            answer = client.predict(given)
            images, chunks = family.input.decode_files(given)
            shares = network(images).softmax(1)
            wanted = torch.stack([part.mean(0) for part in shares.split(list(chunks))]).topk(3)
            assert len(answer.images) == len(given)
            for image, row in zip(answer.images, wanted.values, strict=True):
                assert [one.probability for one in image] == pytest.approx(row.tolist(), rel=1e-4)
        spectrograms = client.predict(family.input.decode(files[0]))
        assert len(spectrograms.images) == 4
        (tmp_path / "cut.wav").write_bytes(files[0].read_bytes()[:-1])
        with pytest.raises(DataError, match="cut.wav: the recording is incomplete.*; give audio files"):
            client.predict([tmp_path / "cut.wav"])
        with pytest.raises(DataError, match="give a list of one or more audio files"):
            client.predict([])


@pytest.mark.parametrize("chunks", ["4", "0,3", "1,1", "2,2", "", "x", "-1,4", "1,,2", "3.0", "9" * 50])
def test_chunks_that_do_not_fit_are_refused(family, chunks):
    from raysplit.device.halves import DeviceHalves

    level = family.levels[0].level
    body = DeviceHalves(family).encode(torch.zeros(3, *AUDIO.shape, dtype=torch.uint8), level).to_bytes()
    own = {LEVEL_HEADER: level_to_header(level), FAMILY_HEADER: family.id}
    with make_client(family) as client:
        answer = client.post("/v1/split", content=body, headers=own | {CHUNKS_HEADER: chunks})
        assert answer.status_code == 400 and CHUNKS_HEADER in answer.json()["error"]
        for good, count in (("3", 1), ("1,2", 2), ("1,1,1", 3)):
            answer = client.post("/v1/split", content=body, headers=own | {CHUNKS_HEADER: good})
            assert answer.status_code == 200 and len(answer.json()["images"]) == count


def test_the_family_says_how_recordings_are_decoded(family):
    with make_client(family) as client:
        assert client.get("/v1/family").json()["audio"] == AUDIO.model_dump()
