"""Checking a file: a Serve config, or Kubernetes manifests, also as Kustomize builds them from a folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from raysplit.serving.check.documents import Document, ParsedYaml, read_documents
from raysplit.serving.check.finding import Finding, as_mapping

STDIN = "-"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def check_file(file: str, previous: str | None = None) -> list[Finding]:
    """Return the problems found in a file: a Serve config, or Kubernetes manifests; `-` reads stdin.

    A folder is one for `kubectl apply -k`, and is built first. `previous` is what runs now, in the same form.

    Imports the code of its applications and opens their bundles, but does not start Ray. Raises MissingExtra for kinds
    of Kubernetes' own where kubernetes-validate is not installed.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    ...     _ = file.write("applications: []\\napplications: []\\n---\\n{}")
    ...     file.flush()
    ...     for finding in check_file(file.name):
    ...         print(finding)
    documents[0].applications: is set twice, on lines 1 and 2; only the last one takes effect
    has 2 documents, but Serve takes one; split the file
    """
    parsed = _read(file)
    documents, findings = [doc for doc in parsed.documents if doc.value is not None], parsed.findings
    if not documents:
        return findings or [Finding("", "is empty; a Serve config begins with 'applications:'")]
    if not any("apiVersion" in as_mapping(doc.value) for doc in documents):
        if len(parsed.documents) > 1:
            text = f"has {len(parsed.documents)} documents, but Serve takes one; split the file"
            return [*findings, Finding("", text)]
        from raysplit.serving.check.config import check_config  # imports Ray

        return [*findings, *check_config(documents[0].value)]
    from raysplit.serving.check.manifests import check_manifests  # imports Ray

    before: list[Document] = []
    if previous is not None:
        kept = _read(previous)
        before = kept.documents
        findings = [*findings, *(Finding("", f"{previous}: {finding}") for finding in kept.findings)]
    return [*findings, *check_manifests(documents, before)]


def _read(file: str) -> ParsedYaml:
    """Return the documents of a file or of a folder that is built, or one finding that says why there are none."""
    try:
        if file == STDIN:
            return read_documents(sys.stdin.read())
        if Path(file).is_dir():
            return _build(Path(file))
        return read_documents(Path(file).read_text(encoding="utf-8"))
    except OSError as err:
        return ParsedYaml([], [Finding("", f"cannot be read: {err.strerror}")])
    except UnicodeDecodeError:
        return ParsedYaml([], [Finding("", "is not UTF-8 text")])


def _build(folder: Path) -> ParsedYaml:
    if not any((folder / name).is_file() for name in _KUSTOMIZATIONS):
        inner = sorted(str(path.parent) for path in folder.rglob(_KUSTOMIZATIONS[0]))
        hint = f"Nearest: {', '.join(inner[:6])}." if inner else "Name a file"
        return ParsedYaml([], [Finding("", f"is a folder without a {_KUSTOMIZATIONS[0]}. {hint}")])
    if shutil.which("kubectl") is None:
        text = "is a folder for Kustomize, which needs kubectl; install it, or check the built manifests"
        return ParsedYaml([], [Finding("", text)])
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    if done.returncode:
        return ParsedYaml([], [Finding("", f"cannot be built: {' '.join(done.stderr.split())}; correct it")])
    return read_documents(done.stdout)
