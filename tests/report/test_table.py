import pytest

from raysplit.report import family_table, format_runs, read_run
from raysplit.utils.text_table import number


def test_table(three):
    deprune, plain, unfinished = format_runs([read_run(path) for path in three]).splitlines()[2:]
    # 6 x 10 kB of labels and headers and 4 x 100 kB + 2 x 400 kB of activations; 1253 MB / 2.484 MB.
    assert deprune.split() == ["mnist5k_deprune", "91.3%", "1.26", "1.22", "504×", "1.14×", "12.0", "42.0", "6.00"]
    assert plain.split() == ["mnist5k_plain", "96.0%", "180", "180", "1.00×", "0.0078×", "8.00", "28.0", "4.00"]
    assert unfinished.split("  ")[0] == "mnist5k_unfinished"
    assert "60.0% (val, epoch 3 of 8)" in unfinished
    assert unfinished.split()[-7:] == ["–"] * 7


def test_aligned(three):
    lines = format_runs([read_run(path) for path in three]).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
    assert "reduction vs.  reduction vs." in lines[0]
    assert "   fp32 split     raw upload" in lines[1]
    column = lines[1].index("accuracy")
    assert [line[column : column + 5] for line in lines[2:]] == ["91.3%", "96.0%", "60.0%"]


def test_family_table(record, three):
    runs = [read_run(path) for path in [*three, record("f", "family")]]
    loose, tight = family_table(runs).splitlines()[2:]
    assert loose.split() == ["mnist5k_family", "c16·b4/b4·zstd", "86.0%", "85.0%", "114", "112", "2", "20.0"]
    assert tight.split() == ["mnist5k_family", "c4·b4/b4·zstd", "84.3%", "85.0%", "30.6", "28.9", "2", "20.0"]
    assert family_table(runs[:3]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3e-6, "<0.0001"),
        (0.0156229, "0.016"),
        (0.5, "0.50"),
        (1, "1.00"),
        (90.33, "90.3"),
        (474.4, "474"),
        (72_000.4, "72,000"),
    ],
)
def test_number(value, text):
    assert number(value) == text
