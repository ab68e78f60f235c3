"""The `raysplit` command, from arguments to output and exit codes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raysplit.cli.main import main
from raysplit.config import DEFAULT_LEVEL, DataConfig
from raysplit.data import load
from raysplit.data.decode import decode
from raysplit.ensemble.bundle import load_ensemble
from raysplit.family.bundle import load_family, write_family
from raysplit.train.local import train_local
from tests.train.recipes import family_config, squeezed_config


def fault(capsys, *words: str) -> str:
    """Run a command that must fail; return its one line."""
    assert main(list(words)) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_profile_as_json(capsys):
    assert main(["profile", "vgg11", "--input", "3x32x32", "--classes", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "vgg11" and found["input"] == "3x32x32"
    cut = next(cut for cut in found["cuts"] if cut["name"] == "features.7")
    assert cut["shape"] == [128, 8, 8] and cut["crossing_bytes_fp32"] == 4 * 128 * 64
    # 4 bits a value, two floats for the range, a header of 27 bytes and four dimensions: an upper bound.
    assert cut["crossing_bytes_default"] == 128 * 64 // 2 + 8 + 27 + 16 and not cut["exact"]
    total = {round(cut["device_gflops"] + cut["server_gflops"], 9) for cut in found["cuts"]}
    assert len(total) == 1
    for key in ("device_params", "server_params", "device_peak_bytes"):
        assert all(cut[key] > 0 for cut in found["cuts"])


def test_profile_as_a_table(capsys):
    assert main(["profile", "vgg11", "--input", "1x28x28"]) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("vgg11, input 1x28x28: 35 cuts") and str(DEFAULT_LEVEL) in head
    assert len(rows) == 35 and len({len(row) for row in rows}) == 1
    assert any(row.startswith("features.7 ") and "128×7×7" in row for row in rows)


@pytest.mark.parametrize("text", ["32x32", "3x32xx", "3x0x32", "axbxc"])
def test_profile_of_a_shape_that_is_none(capsys, text):
    assert f"--input '{text}' is not a shape" in fault(capsys, "profile", "vgg11", "--input", text)


def test_profile_of_an_unknown_model(capsys):
    assert "resnet18" in fault(capsys, "profile", "resnet81")


def test_report(capsys, tmp_path):
    run = train_local(squeezed_config(), run_dir=str(tmp_path / "run"))["run_dir"]
    assert main(["report", run, "-o", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert "digits_vgg11_squeezed" in printed
    assert (tmp_path / "out.html").exists() and len(list(tmp_path.glob("*.png"))) == 3


def test_report_on_a_family(capsys, tmp_path):
    run = train_local(family_config(), run_dir=str(tmp_path / "run"))["run_dir"]
    assert main(["report", run, "-o", str(tmp_path / "out.html")]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {level}  " in printed for level in ("all·b4/b4·zstd", "c4·b4/b4·zstd", "c2·b8/b8"))
    assert (tmp_path / "out-family.png").exists()


def test_report_on_something_else(capsys, tmp_path):
    assert "is not a run directory" in fault(capsys, "report", str(tmp_path))


@pytest.fixture(scope="module")
def bundle(tiny_ensemble):
    return str(tiny_ensemble / "bundle")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return test digits as image files: in the bundle's size, larger and in colour, not square."""
    folder, paths = tmp_path_factory.mktemp("digits"), []
    images = load(DataConfig(name="digits"), "test").images
    for name, number, size, mode in (
        ("a", 0, (8, 8), "L"),
        ("b", 1, (40, 40), "RGBA"),
        ("long name", 2, (30, 21), "P"),
    ):
        paths.append(str(folder / f"{name}.png"))
        Image.fromarray(images[number, 0].numpy()).resize(size).convert(mode).save(paths[-1])
    return paths


def test_inspect_an_ensemble(capsys, bundle, tiny_ensemble):
    assert main(["inspect", bundle]) == 0
    title, *facts = capsys.readouterr().out.splitlines()
    assert title == "ensemble digits_vit_tiny"
    _, *rows = facts[facts.index("") + 1 :]
    assert f"id:        {load_ensemble(bundle).id[:12]}" in facts and "images:    1×8×8" in facts
    assert (
        "classes:   10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in facts
        and "fusion:    fusion.safetensors, layers=3, fill=mean" in facts
    )
    mean, std = load_ensemble(bundle).manifest.mean[0], load_ensemble(bundle).manifest.std[0]
    assert f"mean, std: {mean:.4g}±{std:.4g}" in facts
    parts = json.loads((tiny_ensemble / "summary.json").read_text())["submodels"]
    files = (tiny_ensemble / "bundle" / f"submodels/{index}.safetensors" for index in range(3))
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert len(rows) == len(parts) == 3
    for index, (row, part) in enumerate(zip(rows, parts, strict=True)):
        cells = [cell for cell in row.split("  ") if cell]
        assert [cell.strip() for cell in cells[:2]] == [str(index), f"submodels/{index}.safetensors"]
        assert "vit(" in cells[2] and "heads=2" in cells[2] and "width=16" in cells[2]
        assert [cell.strip() for cell in cells[3:]] == [
            *(", ".join(part["classes"]), "yes", part["device"], hashes[index][:12], "16", f"{part['mib']:.2g}"),
        ]


def test_inspect_an_ensemble_as_json(capsys, bundle, tiny_ensemble):
    assert main(["inspect", bundle, "--json"]) == 0
    found, ensemble = json.loads(capsys.readouterr().out), load_ensemble(bundle)
    assert found["kind"] == "ensemble" and found["id"] == ensemble.id
    assert found["mean"] == list(ensemble.manifest.mean) and found["shape"] == [1, 8, 8]
    sizes = [(tiny_ensemble / "bundle" / part["file"]).stat().st_size for part in found["parts"]]
    assert [part["bytes"] for part in found["parts"]] == sizes


def test_inspect_a_family(capsys, tmp_path):
    run = train_local(family_config(), run_dir=str(tmp_path / "run"))["run_dir"]
    family = load_family(write_family(run, str(tmp_path / "family")))
    assert main(["inspect", str(tmp_path / "family")]) == 0
    title, *rest = capsys.readouterr().out.splitlines()
    assert title == "prune family" and "cut:       features.7" in rest
    for level, row in zip(family.levels, rest[-3:], strict=True):
        assert row.split()[:4] == [
            *(level.level, level.file, f"{100 * level.test_accuracy:.1f}%", f"{100 * level.val_accuracy:.1f}%")
        ]
    assert main(["inspect", str(tmp_path / "family"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "prune_family" and found["id"] == family.id
    assert [level["level"] for level in found["levels"]] == [level.level for level in family.levels]
    assert "of kind 'prune_family', not 'ensemble'" in fault(capsys, "predict", str(tmp_path / "family"), "a.png")


@pytest.mark.parametrize("text", [None, "{", "[]", '{"format": 1}'])
def test_inspect_of_something_else(capsys, text, tmp_path):
    if text is None:
        expected = f"'{tmp_path}' is not a bundle: it has no manifest.json"
    else:
        (tmp_path / "manifest.json").write_text(text)
        expected = f"manifest.json in bundle '{tmp_path}' cannot be read"
    assert expected in fault(capsys, "inspect", str(tmp_path))


def test_inspect_a_bundle_that_contradicts_itself(capsys, bundle, tmp_path):
    manifest = json.loads((Path(bundle) / "manifest.json").read_text())
    manifest["files"] = {}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    text = fault(capsys, "inspect", str(tmp_path))
    assert f"bundle '{tmp_path}' has no submodels/0.safetensors: its manifest.json does not list it" in text


def test_predict(capsys, bundle, digits):
    assert main(["predict", bundle, *digits]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    ensemble = load_ensemble(bundle)
    images = [decode(Path(path), 8, 1) for path in digits]
    expected = ensemble.predict(torch.from_numpy(np.stack(images)))
    for path, row, shares in zip(digits, rows, expected, strict=True):
        best = shares.topk(3)
        wanted = [f"{i} {100 * share:.1f}%" for i, share in zip(best.indices.tolist(), best.values, strict=True)]
        assert " ".join(row) == f"{path} {wanted[0]} {wanted[1]}, {wanted[2]}"


def test_predict_as_json(capsys, bundle, digits):
    assert main(["predict", bundle, *digits, "--json", "--top", "99", "--missing", "0,2"]) == 0
    found = json.loads(capsys.readouterr().out)["images"]
    assert [row["file"] for row in found] == digits
    expected = load_ensemble(bundle).predict(load(DataConfig(name="digits"), "test").images[:1], missing=[0, 2])[0]
    shares = {answer["class"]: answer["probability"] for answer in found[0]["top"]}
    assert [shares[str(i)] for i in range(10)] == pytest.approx(expected.tolist(), rel=1e-4)
    for row in found:
        order = [answer["probability"] for answer in row["top"]]
        assert order == sorted(order, reverse=True) and sum(order) == pytest.approx(1)


def test_predict_one_class(capsys, bundle, digits):
    assert main(["predict", bundle, digits[0], "--top", "1"]) == 0
    assert len(capsys.readouterr().out.split()) == 3


def test_predict_without_ray(bundle, digits):
    code = "import sys; from raysplit.cli.main import main; sys.exit(main(sys.argv[1:]) or 'ray' in sys.modules)"
    call = [sys.executable, "-c", code, "predict", bundle, digits[0]]
    assert subprocess.run(call, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "0"], "--top 0 leaves no class to name"),
        (["--missing", "1,x"], "--missing '1,x' is not a list of sub-models"),
        (["--missing", "3"], "--missing: there is no sub-model 3 in"),
        (["--missing", "0,1,2"], "--missing: all 3 sub-models of"),
    ],
)
def test_predict_with_wrong_options(capsys, words, message, bundle, digits):
    assert message in fault(capsys, "predict", bundle, digits[0], *words)


def test_predict_of_unreadable_files(capsys, bundle, digits, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(Path(digits[1]).read_bytes()[:100])
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "deep.png")
    for name, reason in (
        ("text.png", "this is not an image"),
        ("cut.png", "unreadable image"),
        ("deep.png", "have more than 8 bits"),
        ("none.png", "unreadable image (FileNotFoundError"),
    ):
        text = fault(capsys, "predict", bundle, digits[0], str(tmp_path / name))
        assert text.startswith(f"error: {tmp_path / name}: ") and reason in text


def test_check(capsys, tmp_path):
    shipped = str(Path(__file__).parents[1] / "serve_configs" / "kuberay-ensemble.yaml")
    assert main(["check", shipped]) == 0
    assert capsys.readouterr().out == f"{shipped}: ok\n"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("http_options: {prot: 80}\napplications: []\n")
    assert main(["check", str(wrong), shipped]) == 1
    captured = capsys.readouterr()
    first, second, third = captured.out.splitlines()
    assert first == f"{wrong}: http_options.prot: unknown key. Nearest: port, host, root_path."
    assert second.startswith(f"{wrong}: http_options.request_timeout_s: is missing")
    assert third == f"{shipped}: ok" and captured.err == "error: 2 faults to mend\n"


def test_kuberay(capsys, bundle):
    image = "registry.example.com/raysplit:2.60.0"
    assert main(["kuberay", bundle, "--image", image, "--path", "/bundles/mnist5k_vit_n3"]) == 0
    shipped = Path(__file__).parents[1] / "serve_configs" / "kuberay-ensemble.yaml"
    assert capsys.readouterr().out == shipped.read_text(encoding="utf-8")
    assert "does not tell its Ray version" in fault(capsys, "kuberay", bundle, "--image", "raysplit")


def test_plan_prints_a_table_or_json_and_writes_a_page(capsys, tmp_path):
    args = ["plan", "vgg5", "--data", "digits", "--device", "jetson", "--link", "lte", "--levels", "c4.b4/b4"]
    assert main([*args, "-o", str(tmp_path / "plan.html")]) == 0
    assert "← soonest" in capsys.readouterr().out
    assert "Where to cut vgg5" in (tmp_path / "plan.html").read_text()
    assert main([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["link"]["name"] == "lte" and {row["level"] for row in found["rows"][2:]} == {"c4·b4/b4"}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--device", "pi5"], "Nearest: pi4"),
        (["--link", "wify"], "Nearest: wifi"),
        (["--levels", "c4"], "is not a level"),
        (["--rate", "0"], "--rate 0.0"),
        (["--batch", "0"], "--batch 0"),
    ],
)
def test_plan_refuses(capsys, wrong, text):
    assert main(["plan", "vgg5", "--data", "digits", *wrong]) == 1
    assert text in capsys.readouterr().err


def test_calibrate_writes_a_machine_that_plan_reads(capsys, tmp_path, monkeypatch):
    from raysplit.search import machines

    monkeypatch.setattr(machines, "_SHAPE", (3, 64, 64))
    file = str(tmp_path / "here.yaml")
    assert main(["calibrate", "--name", "bench", "-o", file]) == 0
    found = machines.machine(file)
    assert found.name == "bench" and found.gflops_per_s > 0 and "raysplit calibrate" in found.source
    assert main(["plan", "vgg5", "--data", "digits", "--device", file]) == 0
    assert "bench" in capsys.readouterr().out
