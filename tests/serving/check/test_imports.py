"""Import paths: modules that are found, and those that are not."""

from __future__ import annotations

from tests.serving.check.configs import APP, BUNDLE, findings_in


def test_applications_of_others(workdir):
    """Modules in the working directory are found; the args of other builders are not checked."""
    (workdir / "mine.py").write_text(
        "from ray import serve\n@serve.deployment\nclass D: pass\ndef make(args): return D.bind()\napp = D.bind()\n"
    )
    (workdir / "broken.py").write_text("import no_such_package\n")
    head = "http_options: {request_timeout_s: 5}\napplications:\n"
    assert findings_in(head + "- {import_path: 'mine:make', args: {what: ever}}\n") == []
    assert findings_in(head + "- {import_path: mine.app}\n") == []
    [built] = findings_in(head + "- {import_path: 'mine:app', args: {a: 1}}\n")
    assert built.startswith(f"{APP}.args: 'mine:app' is already built and takes no args")
    [absent] = findings_in(head + "- {import_path: 'mine:mkae'}\n")
    assert absent == f"{APP}.import_path: module 'mine' has no 'mkae'. Nearest: make."
    [broken] = findings_in(head + "- {import_path: 'broken:app'}\n")
    assert "module 'broken' cannot be imported (ModuleNotFoundError: No module named 'no_such_package')" in broken
    elsewhere = "runtime_env: {working_dir: 'https://example.com/code.zip'}"
    assert findings_in(head + f"- {{import_path: 'theirs:app', {elsewhere}}}\n") == []


def test_the_prebuilt_application_needs_its_bundle(workdir, monkeypatch):
    text = "http_options: {request_timeout_s: 5}\napplications: [{import_path: 'raysplit.serving.ensemble:app'}]\n"
    monkeypatch.delenv("RAYSPLIT_BUNDLE", raising=False)
    [found] = findings_in(text)
    assert found.startswith(f"{APP}.import_path: ") and "RAYSPLIT_BUNDLE" in found


def test_the_prebuilt_application(workdir, monkeypatch):
    monkeypatch.setenv("RAYSPLIT_BUNDLE", BUNDLE)
    text = "http_options: {request_timeout_s: 5}\napplications: [{import_path: 'raysplit.serving.ensemble:app'}]\n"
    assert findings_in(text) == []
