"""A working directory with the bundles that the shipped Serve configs name."""

from __future__ import annotations

import shutil

import pytest

from tests.serving.check.configs import BUNDLE, FAMILY


@pytest.fixture(scope="session")
def bundles(tiny_ensemble, family, tmp_path_factory):
    """Return a folder with the bundles of the shipped configs, made of digits."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(tiny_ensemble / "bundle", folder / BUNDLE)
    shutil.copytree(family._bundle.location, folder / FAMILY)
    return folder


@pytest.fixture
def workdir(bundles, tmp_path, monkeypatch):
    """Return a working directory with links to the bundles."""
    (tmp_path / "bundles").symlink_to(bundles / "bundles")
    monkeypatch.chdir(tmp_path)
    return tmp_path
