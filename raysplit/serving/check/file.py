"""Checking a file: a Serve config, or Kubernetes manifests with one in a RayService."""

from __future__ import annotations

from pathlib import Path

from raysplit.serving.check.documents import read_documents
from raysplit.serving.check.finding import Finding, as_mapping


def check_file(file: str) -> list[Finding]:
    """Return the problems found in a file: a Serve config, or Kubernetes manifests with a KubeRay RayService.

    Imports the code of its applications and opens their bundles, but does not start Ray.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    ...     _ = file.write("applications: []\\napplications: []\\n---\\n{}")
    ...     file.flush()
    ...     for finding in check_file(file.name):
    ...         print(finding)
    documents[0].applications: is set twice, on lines 1 and 2; only the last one takes effect
    has 2 documents, but Serve takes one; split the file
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as err:
        return [Finding("", f"cannot be read: {err.strerror}")]
    except UnicodeDecodeError:
        return [Finding("", "is not UTF-8 text")]
    parsed = read_documents(text)
    documents, findings = [doc for doc in parsed.documents if doc.value is not None], parsed.findings
    if not documents:
        return findings or [Finding("", "is empty; a Serve config begins with 'applications:'")]
    if not any("apiVersion" in as_mapping(doc.value) for doc in documents):
        if len(parsed.documents) > 1:
            text = f"has {len(parsed.documents)} documents, but Serve takes one; split the file"
            return [*findings, Finding("", text)]
        from raysplit.serving.check.config import check_config  # imports Ray

        return [*findings, *check_config(documents[0].value)]
    services = [doc for doc in documents if as_mapping(doc.value).get("kind") == "RayService"]
    if not services:
        kinds = ", ".join(str(as_mapping(doc.value).get("kind")) for doc in documents)
        return [*findings, Finding("", f"has no Serve config: it holds {kinds}, but only a RayService has one")]
    from raysplit.serving.check.rayservice import check_rayservice  # imports Ray

    for doc in services:
        findings += check_rayservice(as_mapping(doc.value), doc.path)
    return findings
