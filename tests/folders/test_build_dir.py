"""The folder of a build: what is written is read back, and what is damaged or foreign is refused."""

from __future__ import annotations

import pickle

import pytest

from raysplit.config import BaseConfig, ModelConfig
from raysplit.errors import ConfigError
from raysplit.folders.build_dir import BASE_WEIGHTS, PLAN, BuildDir
from raysplit.records.build_stages import BaseRecord
from tests.ensemble.tiny_build import config
from tests.report.builds import build_record


def test_a_config_with_tuples_is_known_again(tmp_path):
    given = config(base=BaseConfig(model=ModelConfig(name="timm:vit_tiny_patch16_224", args={"img_size": (8, 8)})))
    folder = BuildDir.at(str(tmp_path))
    folder.claim(given)
    folder.claim(given)
    assert folder.holds(given) and not folder.holds(given.replaced(seed=1))


def test_a_folder_has_one_build(tmp_path):
    folder = BuildDir.at(str(tmp_path))
    folder.claim(config())
    with pytest.raises(ConfigError, match="holds a build of another config; give each build its own folder$"):
        folder.claim(config(seed=1))
    folder.write_base(b"weights", BaseRecord())
    with pytest.raises(ConfigError, match=f"To reuse its base, set base.weights={tmp_path}/{BASE_WEIGHTS}$"):
        folder.check_config(config(seed=1))


def test_records_are_read_back(tmp_path):
    folder = BuildDir.at(build_record(tmp_path))
    plan, summary = folder.plan(), folder.summary()
    text = folder.find(PLAN)
    folder.write_plan(plan)
    folder.write_summary(summary)
    assert (folder.plan(), folder.summary()) == (plan, summary)
    assert b'"seats"' in text and b'"seats"' in folder.find(PLAN), "as older versions wrote it"


def test_a_new_folder_has_nothing(tmp_path):
    folder = BuildDir.at(str(tmp_path))
    assert (folder.plan(), folder.summary(), folder.data_fingerprint()) == (None, None, None)
    with pytest.raises(ConfigError, match="is not a build's folder: it has no config.json; name the folder"):
        folder.config()
    with pytest.raises(ConfigError, match=f"has no fusion/record.json; continue it with .* --resume {tmp_path}$"):
        folder.fusion_record()


def test_a_damaged_record_is_named(tmp_path):
    folder = BuildDir.at(build_record(tmp_path))
    for name, read in (("summary.json", folder.summary), ("plan.json", folder.plan), ("config.json", folder.config)):
        (tmp_path / name).write_bytes(b'{"n": \xff')
        with pytest.raises(ConfigError, match=f"^{name} in '{tmp_path}' is not JSON") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_it_is_pickled_by_its_location(tmp_path):
    copy = pickle.loads(pickle.dumps(BuildDir.at(str(tmp_path))))
    assert isinstance(copy, BuildDir) and copy.location == str(tmp_path)
    assert copy.bundle_location == f"{tmp_path}/bundle"
