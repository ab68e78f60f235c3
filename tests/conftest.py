"""What tests of several packages use."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from raysplit.config import (
    BaseConfig,
    ClassifierFit,
    DataConfig,
    EnsembleConfig,
    FusionConfig,
    GroupsConfig,
    Machine,
    ModelConfig,
    PruneConfig,
)

# Small networks gain nothing from a second thread, and sums of floats depend on how many there are. Torch, which reads
# this, is imported later.
os.environ["OMP_NUM_THREADS"] = "1"
# No node is taken away from a test: Ray Train need not start an actor that watches for it.
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

# A shell that runs the tests in the background has them ignore SIGINT, which some of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples have no deadline: on a busy machine any of them may be slow. With the profile "slow", of `make test-slow`,
# `tests.examples` draws all of them.
settings.register_profile("quick", deadline=None)
settings.register_profile("slow", deadline=None)
settings.load_profile("quick")

# What is imported stays: to look for garbage in it again and again takes a sixth of the time to read the test files.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def own_progress() -> Iterator[None]:
    """Let the commands of a test show their progress in it alone."""
    logger = logging.getLogger("raysplit")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def shared_ray() -> Iterator[str]:
    """Start the Ray that the tests of this process share, unless it runs already; yield its address.

    It has two CPUs and one device.
    """
    import ray

    if not ray.is_initialized():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
            ray.init(num_cpus=2, resources={"device": 1}, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address


@pytest.fixture
def shared_ray_for_jobs(shared_ray: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs that a test starts join the shared Ray: they need none of their own."""
    monkeypatch.setenv("RAY_ADDRESS", shared_ray)


@pytest.fixture
def own_ray() -> Iterator[None]:
    """End the shared Ray: the test starts one of its own in this process."""
    import ray

    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_ensemble(tmp_path_factory):
    """Return the folder of an ensemble's build, seconds' work: three ViTs for 8×8 digits on two devices."""
    from raysplit.ensemble.build import build_ensemble

    config = EnsembleConfig(
        name="digits_vit_tiny",
        data=DataConfig(name="digits", train_rows=320),
        base=BaseConfig(
            model=ModelConfig(name="vit", args={"patch": 4, "width": 24, "depth": 2, "heads": 3}),
            train=ClassifierFit(epochs=3, batch_size=32, device="cpu"),
        ),
        groups=GroupsConfig(n=3),
        prune=PruneConfig(keep=0.67, proxy=16),
        retrain=None,
        fusion=FusionConfig(epochs=6, batch_size=32, device="cpu"),
        precision="bf16",
        devices=(
            Machine(name="phone", memory_mib=1, gflops_per_s=2),
            Machine(name="camera", memory_mib=1, gflops_per_s=1),
        ),
    )
    place = tmp_path_factory.mktemp("ensemble")
    build_ensemble(config, str(place))
    return place


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Return class folders of short and long tones by six speakers."""
    from tests.sounds import write_tones

    return write_tones(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def sound_cache_dir(tmp_path_factory):
    """Return the folder that decoded recordings are cached in: those of each session are new."""
    return tmp_path_factory.mktemp("sound_cache")


@pytest.fixture
def sound_cache(sound_cache_dir, monkeypatch):
    """Cache what the test decodes where the session's recordings are cached."""
    monkeypatch.setenv("RAYSPLIT_CACHE", str(sound_cache_dir))


@pytest.fixture(scope="session")
def audio_ensemble(recordings, sound_cache_dir, tmp_path_factory):
    """Return the folder of an ensemble's build for recordings, seconds' work: two ViTs."""
    from raysplit.ensemble.build import build_ensemble
    from tests.sounds import VIT, ensemble_config

    place = tmp_path_factory.mktemp("audio_ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSPLIT_CACHE", str(sound_cache_dir))
        build_ensemble(ensemble_config(recordings, VIT), str(place))
    return place


@pytest.fixture(scope="session")
def audio_run(recordings, sound_cache_dir, tmp_path_factory):
    """Return the folder of a split-training run on recordings, seconds' work."""
    from raysplit.train.local import train_local
    from tests.sounds import run_config

    place = tmp_path_factory.mktemp("audio_run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSPLIT_CACHE", str(sound_cache_dir))
        train_local(run_config(recordings), str(place))
    return place


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    """Return a prune family of three levels for 8×8 digits, seconds' work."""
    from raysplit.family import write_family
    from raysplit.family.bundle import load_family
    from raysplit.train.local import train_local
    from tests.train.recipes import family_config

    place = tmp_path_factory.mktemp("family")
    train_local(family_config(), str(place / "run"))
    return load_family(write_family(str(place / "run"), str(place / "bundle")))
