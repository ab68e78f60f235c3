from __future__ import annotations

import pytest
import yaml

from raysplit.cli.main import main
from raysplit.containers.rayjob import render_rayjob
from raysplit.errors import ConfigError
from raysplit.serving.check import check_file

COMMAND = "jobs/train_split.py --recipe mnist5k_vgg11_deprune --set train.epochs=3 --set 'cut=\"features.7\"'"


def test_each_half_has_a_node_and_the_check_passes(tmp_path):
    text = render_rayjob("train", COMMAND, "registry.example.com/raysplit:2.60.0-py311")
    (tmp_path / "job.yaml").write_text(text)
    assert check_file(str(tmp_path / "job.yaml")) == []
    spec = yaml.safe_load(text)["spec"]
    assert spec["entrypoint"] == f"python {COMMAND}" and spec["rayClusterSpec"]["rayVersion"] == "2.60.0"
    groups = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert [group["resources"] for group in groups] == [{"device": "1"}, {"server": "1"}]


@pytest.mark.parametrize(
    ("command", "image", "text"),
    [
        ("jobs/demo.py", "raysplit", "the tag of image 'raysplit' does not begin with its Ray version"),
        ("jobs/demo.py", "raysplit:latest", "the tag of image 'raysplit:latest' does not begin"),
        ("", "raysplit:2.60.0", "job '' begins with no file; write it like"),
        ("train_split", "raysplit:2.60.0", "job 'train_split' begins with no file"),
    ],
)
def test_errors(command, image, text):
    with pytest.raises(ConfigError) as err:
        render_rayjob("train", command, image)
    assert str(err.value).startswith(text)


def test_the_command(capsys):
    assert main(["kuberay", "--job", "jobs/demo.py", "--job-image", "raysplit:2.60.0", "--name", "demo"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["metadata"]["name"] == "demo"
    assert main(["kuberay", "--job", "jobs/demo.py"]) == 1
    assert "needs --job-image, and neither BUNDLE nor -o" in capsys.readouterr().err
    assert main(["kuberay"]) == 1
    assert "needs the folder of an ensemble, --job, --gateway or --devices" in capsys.readouterr().err
