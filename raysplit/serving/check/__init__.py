"""Strict checks of Ray Serve's config files, of which Serve itself accepts any key: `raysplit check`."""

from __future__ import annotations

from pathlib import Path

from raysplit.serving.check.config import check_config
from raysplit.serving.check.documents import read_documents
from raysplit.serving.check.finding import Finding, mapping
from raysplit.serving.check.rayservice import check_rayservice

__all__ = ["Finding", "check_file"]


def check_file(file: str) -> list[Finding]:
    """Return what is wrong with a file: a Serve config, or Kubernetes manifests with a KubeRay RayService.

    Imports what its applications name and opens their bundles; starts no Ray.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as err:
        return [Finding("", f"cannot be read: {err.strerror}")]
    except UnicodeDecodeError:
        return [Finding("", "is not text in UTF-8")]
    documents, findings = read_documents(text)
    if all(value is None for _, value in documents):
        return findings or [Finding("", "is empty; a Serve config begins with 'applications:'")]
    if not any("apiVersion" in mapping(value) for _, value in documents):
        if len(documents) > 1:
            return [*findings, Finding("", f"holds {len(documents)} documents; Serve takes one, so cut it up")]
        return [*findings, *check_config(documents[0][1])]
    documents = [(path, value) for path, value in documents if value is not None]
    services = [(path, value) for path, value in documents if mapping(value).get("kind") == "RayService"]
    if not services:
        kinds = ", ".join(str(mapping(value).get("kind")) for _, value in documents)
        findings.append(Finding("", f"holds no Serve config: {kinds}; one is in a RayService"))
    for path, value in services:
        findings += check_rayservice(value, path)
    return findings
