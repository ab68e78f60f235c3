"""What a device takes from the config that a gateway sends, and what it does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from raysplit.config import SplitConfig
from raysplit.errors import ConfigError
from raysplit.join.setup import take_over
from raysplit.train.joined_device import _crossing
from raysplit.train.remote_calls import Setup
from tests.join.runs import joined_config

CODE = "def network(classes, shape):\n    raise SystemExit('run')\n"


def setup(config: SplitConfig, code: str | None = None) -> Setup:
    files = {} if code is None else {"code/model.py": hashlib.sha256(code.encode()).hexdigest()}
    return Setup(config=config.model_dump_json(), index=0, files=files)


def with_model(name: str) -> SplitConfig:
    config = joined_config()
    return config.replaced(model=config.model.replaced(name=name, args={}))


def test_the_data_are_the_device_s_own_whatever_the_gateway_names(tmp_path):
    config = joined_config(count=3, per_round=2)
    config = config.replaced(data=config.data.replaced(name="folder:/etc"))
    own = take_over(setup(config), "folder:photos", tmp_path)
    assert own.devices.data == ("folder:photos",) * 3 and own.devices.source == "cluster"
    assert own.train == config.train and own.devices.per_round == 2


@pytest.mark.parametrize("path", ["mine.py", "/srv/jobs/mine.py", "../../mine.py"])
def test_a_user_s_file_must_be_there_and_the_same(tmp_path, path):
    """It is looked for by its name in one folder, and not run when it differs."""
    asked = setup(with_model(f"{path}:network"), CODE)
    with pytest.raises(ConfigError, match=f"the run needs mine.py, which is not in '{tmp_path}'; copy it there"):
        take_over(asked, "digits", tmp_path)
    (tmp_path / "mine.py").write_text(CODE + "# changed\n")
    with pytest.raises(ConfigError, match=r"mine.py' \(sha256 .*\) is not the file of the run"):
        take_over(asked, "digits", tmp_path)
    with pytest.raises(ConfigError, match=r"is not the file of the run \(none\)"):
        take_over(setup(with_model(f"{path}:network")), "digits", tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    assert take_over(asked, "digits", tmp_path).model.name == f"{tmp_path / 'mine.py'}:network"


def test_a_codec_s_file_too(tmp_path):
    config = joined_config().replaced(codec="half.py:Half")
    with pytest.raises(ConfigError, match="the run needs half.py"):
        take_over(setup(config), "digits", tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', "null"])
def test_a_config_that_is_none_is_an_error_in_one_line(tmp_path, text):
    with pytest.raises(ConfigError, match="the run's config"):
        take_over(Setup(config=text, index=0), "digits", Path(tmp_path))


def test_a_gateway_names_no_folder_that_is_written_to(tmp_path):
    local = {"device": "local", "folder": str(tmp_path / "elsewhere")}
    config = joined_config()
    inside = config.replaced(devices=config.devices.replaced(source="cluster", inside=0, names=()), checkpoint=local)
    with pytest.raises(ConfigError, match=r"would write to '.*elsewhere' here; set checkpoint.device to server"):
        take_over(setup(inside), "digits", tmp_path)
    with pytest.raises(ValueError, match="a device that joins decides itself where it writes"):
        config.replaced(checkpoint=local)
    assert not (tmp_path / "elsewhere").exists()


def test_a_schedule_of_one_s_own_stays_with_the_job_and_is_run_nowhere_else(tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit('run')\n")
    config = joined_config().replaced(schedule=f"{tmp_path}/mine.py:Schedule")
    with pytest.raises(ConfigError, match="a schedule that would run code here"):
        take_over(setup(config), "digits", tmp_path)
    good = "class Schedule:\n    def levels(self):\n        from raysplit.config import Level\n"
    good += "        return (Level('all.b8/b8'),)\n    def decide(self, context, history):\n        ...\n"
    (tmp_path / "mine.py").write_text(good)
    crossed = _crossing(config)
    assert str(crossed.levels()[0]) == "all·b8/b8" and take_over(setup(crossed), "digits", tmp_path)
