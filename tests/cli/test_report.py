from __future__ import annotations

from raysplit.cli.main import main
from raysplit.train.local import train_local
from tests.full_disk import nearly_full
from tests.train.recipes import family_config, squeezed_config


def test_report(capsys, tmp_path):
    run = train_local(squeezed_config(), run_dir=str(tmp_path / "run")).run_dir
    assert main(["report", run, "-o", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert "digits_vgg11_squeezed" in printed
    assert (tmp_path / "out.html").exists() and len(list(tmp_path.glob("*.png"))) == 3


def test_report_on_a_family(capsys, tmp_path):
    run = train_local(family_config(), run_dir=str(tmp_path / "run")).run_dir
    assert main(["report", run, "-o", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {level}  " in printed for level in ("all·b4/b4·zstd", "c4·b4/b4·zstd", "c2·b8/b8"))
    assert (tmp_path / "out-family.png").exists()


def test_a_full_disk_leaves_nothing_behind(capsys, tmp_path):
    run = train_local(squeezed_config(), run_dir=str(tmp_path / "run")).run_dir
    with nearly_full(1000):
        assert main(["report", run, "-o", str(tmp_path / "out" / "r.html")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write r.html to '{tmp_path}/out': ") and error.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


def test_report_on_something_else(fail, tmp_path):
    assert "is not a run directory" in fail("report", str(tmp_path))
