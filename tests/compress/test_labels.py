import pytest
import torch

from raysplit.compress.labels import extract_labels, pack_labels
from raysplit.errors import WireError
from raysplit.wire.message import Kind, Message, parse


@pytest.mark.parametrize(
    ("classes", "width"), [(2, 1), (10, 1), (256, 1), (257, 2), (1000, 2), (32768, 2), (32769, 4), (100_000, 4)]
)
def test_labels(classes, width):
    labels = torch.tensor([0, classes - 1, classes // 2, 1])
    packed = pack_labels(labels, 3, classes).expect(Kind.LABELS, 3, (4,))
    assert len(packed.body) == 4 * width
    for x in (labels, labels[::2], labels[:0]):
        y = extract_labels(parse(pack_labels(x, 3, classes).to_bytes()))
        assert y.dtype == torch.int64 and y.equal(x)


@pytest.mark.parametrize(
    "bad",
    [
        dict(shape=(4,), body=b"\0" * 3, dtype=torch.uint8),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.int16),
        dict(shape=(1 << 31,), body=b"\0" * 4, dtype=torch.int32),
        dict(shape=(4,), body=b"\0" * 16, dtype=torch.float32),
        dict(shape=(), body=b"\0", dtype=torch.uint8),
        dict(shape=(2, 2), body=b"\0" * 4, dtype=torch.uint8),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.uint8, zstd=True),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.uint8, channels=(1,), channel_dim=0),
        dict(shape=(4,), body=b"\0" * 4, dtype=torch.uint8, top=1),
    ],
    ids=str,
)
def test_labels_that_do_not_fit(bad):
    with pytest.raises(WireError, match=r"labels of dtype .* do not fit"):
        extract_labels(Message(Kind.LABELS, 0, bits=8, **bad))
