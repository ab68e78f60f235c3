import pytest

from raysplit.ensemble.build import build_ensemble
from tests.ensemble.tiny_build import config


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Return the folder and the summary of a finished build; tests leave the folder as it is."""
    folder = tmp_path_factory.mktemp("build")
    return folder, build_ensemble(config(), str(folder))
