"""Reading YAML without losing anything: a key that is set twice is a finding, although YAML keeps only the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from raysplit.serving.check.finding import Finding, join_path


@dataclass(frozen=True)
class Document:
    """A YAML document and its path in findings."""

    path: str
    value: Any
    """None for an empty document."""


@dataclass(frozen=True)
class ParsedYaml:
    """The documents of a text, and what is wrong with them as YAML."""

    documents: list[Document]
    findings: list[Finding]


def read_documents(text: str, path: str = "") -> ParsedYaml:
    """Return the YAML documents of a text.

    The path of a document is `path`, or `documents[i]` below it if there are several. A text that cannot be parsed is
    one finding, with its line, and no document.

    >>> [document.value for document in read_documents("a: 1").documents]
    [{'a': 1}]
    >>> print(read_documents("a: b: c").findings[0])
    line 1, column 5: mapping values are not allowed here
    """
    try:
        nodes = list(yaml.compose_all(text, yaml.SafeLoader))
        values = list(yaml.safe_load_all(text))
    except yaml.MarkedYAMLError as err:
        return ParsedYaml([], [Finding(path, f"{_format_mark(err.problem_mark)}{err.problem or err.context}")])
    except (yaml.YAMLError, ValueError) as err:  # ValueError: an impossible date
        return ParsedYaml([], [Finding(path, " ".join(str(err).split()))])
    documents: list[Document] = []
    findings: list[Finding] = []
    for index, (node, value) in enumerate(zip(nodes, values, strict=True)):
        where = path if len(nodes) == 1 else join_path(path, f"documents[{index}]")
        documents.append(Document(where, value))
        _find_duplicate_keys(node, where, findings, set())
    return ParsedYaml(documents, findings)


def _format_mark(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _find_duplicate_keys(node: yaml.Node | None, path: str, findings: list[Finding], seen: set[int]) -> None:
    if id(node) in seen:  # an alias, whose anchor was visited
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _find_duplicate_keys(item, join_path(path, index), findings, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            where, name, line = join_path(path, key.value), (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                text = f"is set twice, on lines {lines[name]} and {line}; only the last one takes effect"
                findings.append(Finding(where, text))
            lines[name] = line
            _find_duplicate_keys(value, where, findings, seen)
