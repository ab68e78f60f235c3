from __future__ import annotations

from pathlib import Path

from raysplit.cli.main import main


def test_kuberay(capsys, bundle, fail):
    image = "registry.example.com/raysplit:2.60.0"
    assert main(["kuberay", bundle, "--image", image, "--path", "/bundles/mnist5k_vit_n3"]) == 0
    shipped = Path(__file__).parents[2] / "serve_configs" / "kuberay-ensemble.yaml"
    assert capsys.readouterr().out == shipped.read_text(encoding="utf-8")
    assert "image 'raysplit' does not" in fail("kuberay", bundle, "--image", "raysplit")
