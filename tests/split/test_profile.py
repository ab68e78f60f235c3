import pytest
import torchvision.models as zoo
from torch import nn

from raysplit.errors import ModelError
from raysplit.split import count_flops, find_cuts, profile
from tests.split.networks import FAMILIES, NETWORKS, SHAPE

VIT_B_16_FLOPS = 35_127_656_448
"""2 × 17.564 GMAC, torchvision's published count with its attention's products."""


def test_vit_b_16_at_224_pixels():
    model = zoo.vit_b_16()
    assert count_flops(model, (3, 224, 224)) == VIT_B_16_FLOPS
    assert f"{VIT_B_16_FLOPS / 1e9:.3f}" == "35.128"
    rows = profile(model, (3, 224, 224))
    assert {round((row.device_gflops + row.server_gflops) * 1e9) for row in rows} == {VIT_B_16_FLOPS}


@pytest.mark.parametrize("name", FAMILIES)
def test_both_sides_add_up_to_the_model(name):
    model = NETWORKS[name]()
    total = count_flops(model, SHAPE)
    rows = profile(model, SHAPE)
    for row in rows:
        assert round((row.device_gflops + row.server_gflops) * 1e9) == total, row.name
        assert row.device_params + row.server_params == sum(p.numel() for p in model.parameters())


def test_one_row_for_each_cut_in_order():
    model = NETWORKS["swin"]()
    cuts = find_cuts(model, SHAPE)
    assert [(row.name, row.shape) for row in profile(model, SHAPE)] == [(cut.name, cut.shape) for cut in cuts]


def test_a_sequential_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        nn.ReLU(inplace=True),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
        nn.Linear(10, 2),
    )
    rows = {row.name: row for row in profile(model, (3, 8, 8))}
    image, maps = 4 * 3 * 8 * 8, 4 * 4 * 8 * 8
    peaks = {"0": image + maps, "1": image + maps, "2": 2 * maps, "3": 2 * maps, "4": 2 * maps}
    assert {name: row.device_peak_bytes for name, row in rows.items()} == peaks
    assert rows["0"].device_gflops == 2 * 3 * 4 * 64 / 1e9
    assert rows["4"].server_gflops == 2 * 10 * 2 / 1e9
    assert rows["2"].crossing_bytes_fp32 == maps and rows["4"].crossing_bytes_fp32 == 40
    assert (rows["3"].device_params, rows["3"].device_param_bytes) == (12, 48)
    assert rows["3"].server_params == 2570 + 22


def test_the_input_is_counted_while_it_is_needed():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.end = (nn.Conv2d(3, 3, 1) for _ in range(3))

        def forward(self, x):
            return self.end(self.b(self.a(x)) + x)

    rows = {row.name: row for row in profile(Residual(), (3, 8, 8))}
    assert rows["add"].device_peak_bytes == 3 * 4 * 3 * 8 * 8


def test_operations_that_cannot_be_counted():
    with pytest.raises(ModelError, match=r"^the operations of Linear cannot be counted: .+"):
        count_flops(nn.Linear(3, 3), (1, 2, 2))
