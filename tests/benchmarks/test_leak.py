"""The table and the picture of the benchmark of leaks, from made-up rows."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def leak():
    import leak

    return leak


@pytest.fixture
def rows(leak):
    images = torch.arange(3 * 64, dtype=torch.uint8).view(3, 1, 8, 8)
    scores = {"psnr": 20.0, "ssim": 0.5, "blind_psnr": 10.0, "blind_ssim": 0.1, "bytes_per_image": 1234.0}
    return [
        {"name": f"{level}{seed}", "level": level, "seed": seed, "accuracy": 90.0 + seed}
        | (scores | leak._pack(rebuilt=images, originals=255 - images) if seed == 0 else {})
        for level in ("all·b8/b8", "all·b8/b8·n50")
        for seed in (0, 1, 2)
    ]


def test_the_table_has_means_and_deviations(leak, rows):
    lines = leak.format_rows(rows).splitlines()
    assert lines[2] == "| all·b8/b8 | 91.0 ± 1.0 | 1,234 | 20.0 | 0.50 |"
    assert lines[-1] == "| nothing: the mean image | – | 0 | 10.0 | 0.10 |"


def test_the_picture_has_the_first_seeds_images(leak, rows):
    assert torch.equal(leak._unpack(rows[0], "originals"), 255 - leak._unpack(rows[0], "rebuilt"))
    assert leak.draw("mnist5k", rows).startswith(b"\x89PNG")


def test_noise_is_all_that_differs(leak):
    plain, noisy = leak.mnist5k(0, 1), leak.mnist5k(50, 1)
    assert str(noisy.schedule.level) == f"{plain.schedule.level}·n50"
    assert noisy.replaced(name=plain.name, schedule=plain.schedule) == plain
