import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysplit.data.parquet_columns import arrow_schema


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give every test its own decode cache."""
    monkeypatch.setenv("RAYSPLIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pixels():
    """Return a maker of random uint8 pixels, HWC for RGB and HW for grey."""

    def make(height=8, width=8, channels=3, seed=0):
        shape = (height, width, 3) if channels == 3 else (height, width)
        return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)

    return make


@pytest.fixture
def png(pixels):
    """Return a maker of PNG bytes of random pixels."""

    def make(*args, **kwargs):
        file = io.BytesIO()
        Image.fromarray(pixels(*args, **kwargs)).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def write_parquet():
    """Return a writer of image bytes and labels in the Parquet layout; no classes: no metadata."""

    def write(path, images, labels, classes=("cat", "dog"), image="image"):
        schema = arrow_schema(classes or ())
        schema = schema.set(0, schema.field(0).with_name(image))
        if classes is None:
            schema = schema.remove_metadata()
        cells = [{"bytes": raw, "path": None} for raw in images]
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table([cells, labels], schema=schema), path)
        return path

    return write


@pytest.fixture
def two_files(tmp_path, png, write_parquet):
    """Write a small data set (20 train and 6 test images, two classes) and return its folder."""
    folder = tmp_path / "set"
    write_parquet(folder / "train.parquet", [png(seed=i) for i in range(20)], [i % 2 for i in range(20)])
    write_parquet(folder / "test.parquet", [png(seed=100 + i) for i in range(6)], [i % 2 for i in range(6)])
    return folder
