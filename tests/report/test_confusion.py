"""Confusion matrices as a picture."""

from __future__ import annotations

import pytest

from raysplit.report.confusion import plot_confusion


def test_confusion():
    counts = {"base": [[8, 2, 0], [0, 0, 0], [0, 1, 999]], "fused": [[10, 0, 0], [0, 0, 0], [500, 0, 500]]}
    base, fuse = plot_confusion(counts, ["a", "$b$", "c"]).axes
    assert base.images[0].get_array().tolist() == [[80, 20, 0], [0, 0, 0], [0, 0.1, 99.9]]
    written = [[(*text.get_position(), text.get_text()) for text in ax.texts] for ax in (base, fuse)]
    assert written == [[(0, 0, "80"), (1, 0, "20"), (2, 2, "100")], [(0, 0, "100"), (0, 2, "50"), (2, 2, "50")]]
    assert [label.get_text() for label in base.get_xticklabels()] == ["a", r"\$b\$", "c"]
    assert base.get_title() == "base" and fuse.get_title() == "fused"


@pytest.mark.parametrize(("count", "names"), [(20, 20), (100, 0)])
def test_confusion_of_many_classes_has_a_scale_in_place_of_numbers(count, names):
    counts = [[int(i == j) for j in range(count)] for i in range(count)]
    base, fuse, scale = plot_confusion({"base": counts, "fused": counts}, [f"class {i}" for i in range(count)]).axes
    assert not base.texts and len(fuse.get_xticklabels()) == names
    assert scale.get_ylim() == (0, 100)
