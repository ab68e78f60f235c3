"""The shipped Serve configs, a RayService, and what is found in changed ones."""

from __future__ import annotations

from pathlib import Path

from raysplit.serving.check import check_file

SHIPPED = Path(__file__).parents[3] / "serve_configs"
ENSEMBLE = (SHIPPED / "ensemble.yaml").read_text(encoding="utf-8")
SPLIT = (SHIPPED / "split.yaml").read_text(encoding="utf-8")
RAYSERVICE = (Path(__file__).parent / "rayservice.yaml").read_text(encoding="utf-8")
BUNDLE, FAMILY = "bundles/mnist5k_vit_n3/bundle", "bundles/mnist5k_vgg11_prune"
APP = "applications[0]"
OTHER = f"""
  - name: other
    route_prefix: /other
    import_path: raysplit.serving.ensemble:build
    args: {{bundle: {BUNDLE}}}
"""


def findings_in(text: str | bytes) -> list[str]:
    """Check a file with that content in the working directory."""
    Path("config.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return [str(finding) for finding in check_file("config.yaml")]


def changed(old: str, new: str, text: str = ENSEMBLE) -> str:
    """Return a config with one change."""
    assert old in text
    return text.replace(old, new, 1)
