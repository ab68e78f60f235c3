"""What importing parts of the serving package loads: settings and checks are light, only applications need Ray."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib, sys
light = ["args", "kuberay", "check", "serial_executor", "http.authenticator", "oip.schema"]
for name in light:
    importlib.import_module(f"raysplit.serving.{name}")
    assert not {"ray", "torch"} & sys.modules.keys(), name
for name in ["http.images", "http.body", "oip.protocol", "oip.request", "oip.response"]:
    importlib.import_module(f"raysplit.serving.{name}")
    assert "ray" not in sys.modules, name
"""


def test_light_parts_load_neither_ray_nor_torch():
    assert subprocess.run([sys.executable, "-c", CODE], check=False).returncode == 0
