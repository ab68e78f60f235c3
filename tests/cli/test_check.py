from __future__ import annotations

from pathlib import Path

from raysplit.cli.main import main

SHIPPED = str(Path(__file__).parents[2] / "serve_configs" / "kuberay-ensemble.yaml")


def test_check(capsys, tmp_path):
    assert main(["check", SHIPPED]) == 0
    assert capsys.readouterr().out == f"{SHIPPED}: ok\n"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("http_options: {prot: 80, request_timeout_s: 0}\napplications: []\n")
    assert main(["check", str(wrong), SHIPPED]) == 1
    captured = capsys.readouterr()
    first, second, third = captured.out.splitlines()
    assert first == f"{wrong}: http_options.prot: unknown key. Nearest: port, host, root_path."
    assert second.startswith(f"{wrong}: http_options.request_timeout_s: must be more than 0")
    assert third == f"{SHIPPED}: ok" and captured.err == "error: 2 problems found\n"


def test_a_single_problem(capsys, tmp_path):
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().err == "error: 1 problem found\n"
