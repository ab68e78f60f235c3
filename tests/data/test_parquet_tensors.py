"""Images as tensors in Parquet files: of Arrow's type, and of Ray Data's, with and without Ray Data."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from raysplit.config import DataConfig
from raysplit.data import load, read_facts
from raysplit.data.parquet_images import pixels_shape
from raysplit.errors import DataError
from tests.data.parquet_files import read_part

RAY = {1: ("ray.data.arrow_tensor", pa.list_), 2: ("ray.data.arrow_tensor_v2", pa.large_list)}
LABEL = pa.field("label", pa.int64())


def tensors(shape, kind=2, dtype=None):
    """Return the field of a column as Ray Data writes it, for readers that do not know its type."""
    name, make = RAY[kind]
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": json.dumps(shape)}
    return pa.field("image", make(dtype or pa.uint8()), metadata=metadata)


def arrow(shape, dtype=None, **order):
    return pa.field("image", pa.fixed_shape_tensor(dtype or pa.uint8(), shape, **order))


def write(file, field, images):
    """Write flat pixels, or null, and labels 0, 1, 0, …"""
    labels = pa.array([i % 2 for i in range(len(images))])
    if isinstance(field.type, pa.BaseExtensionType):
        column = pa.ExtensionArray.from_storage(field.type, pa.array(images, field.type.storage_type))
    else:
        column = pa.array(images, field.type)
    pq.write_table(pa.Table.from_arrays([column, labels], schema=pa.schema([field, LABEL])), file)


@pytest.mark.parametrize("shape", [[8, 10, 3], [8, 10, 1], [8, 10]])
@pytest.mark.parametrize("field", [tensors, lambda shape: tensors(shape, 1), arrow], ids=["v2", "v1", "arrow"])
def test_pixels_are_those_that_were_written(tmp_path, field, shape):
    pixels = np.random.RandomState(0).randint(0, 256, (10, *shape)).astype(np.uint8)
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", field(shape), [image.ravel() for image in pixels])
    data = DataConfig(name=f"parquet:{tmp_path}")
    channels = shape[2] if len(shape) == 3 else 1
    assert read_facts(data).shape == (channels, 8, 10)
    found = load(data, "test")
    expected = torch.from_numpy(pixels.reshape(10, 8, 10, channels)).permute(0, 3, 1, 2)
    assert torch.equal(found.images, expected) and found.labels.tolist() == [0, 1] * 5


def test_what_ray_data_writes_is_read_after_its_import(tmp_path):
    from ray.data.extensions import ArrowTensorArray

    pixels = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    column = ArrowTensorArray.from_numpy(pixels)
    pq.write_table(pa.table({"photo": column, "label": [0, 1, 0, 1]}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"photo": column, "label": [0, 1, 0, 1]}).slice(1, 2), tmp_path / "test.parquet")
    rows = list(read_part(tmp_path, "test").rows())
    assert [row.label for row in rows] == [1, 0]
    assert all(np.array_equal(row.image, image) for row, image in zip(rows, pixels[1:3], strict=True))


def test_a_null_is_a_bad_row(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", tensors([8, 8]), [[7] * 64, None, [9] * 64, [9] * 64])
    data = DataConfig(name=f"parquet:{tmp_path}")
    with pytest.raises(DataError, match=r"test\.parquet row 1: there are no image bytes"):
        load(data, "test")
    assert load(data.replaced(on_bad_rows="skip"), "test").images[:, 0, 0, 0].tolist() == [7, 9, 9]


def test_a_cell_of_another_length_ends_the_reading(tmp_path):
    write(tmp_path / "train.parquet", tensors([8, 8]), [[7] * 64, [7] * 63])
    write(tmp_path / "test.parquet", tensors([8, 8]), [[7] * 64])
    with pytest.raises(DataError, match=r"train\.parquet cannot be read after row 0 .*63.*"):
        list(read_part(tmp_path, "train").rows())


@pytest.mark.parametrize(
    "field",
    [
        tensors([3, 8, 8]),
        tensors([8, 8, 4]),
        tensors([2, 8, 8, 3]),
        tensors([8, 8, 3], dtype=pa.float32()),
        tensors("gone"),
        tensors(["8", "8"]),
        arrow([8, 8, 3], pa.float32()),
        arrow([3, 8, 8], permutation=[1, 2, 0]),
        pa.field("image", pa.list_(pa.uint8())),
    ],
)
def test_other_tensors_are_refused(tmp_path, field):
    assert pixels_shape(field) is None
    write(tmp_path / "train.parquet", field, [])
    write(tmp_path / "test.parquet", field, [])
    with pytest.raises(DataError, match=r"column 'image' is .*, expected .*tensors of uint8 \(height, width, 1 or 3\)"):
        read_part(tmp_path, "train")
