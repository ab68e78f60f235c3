"""Reading YAML without losing anything: a key that is there twice is a fault, not the last one's victory."""

from __future__ import annotations

from typing import Any

import yaml

from raysplit.serving.check.finding import Finding, at


def read_documents(text: str, path: str = "") -> tuple[list[tuple[str, Any]], list[Finding]]:
    """Return the YAML documents of a text, each with its path, and what is wrong with them as YAML.

    The path of a document is `path`, or `documents[i]` below it where there are several; an empty one is None. What
    cannot be read is one finding, with its line, and no document.
    """
    try:
        nodes = list(yaml.compose_all(text, yaml.SafeLoader))
        values = list(yaml.safe_load_all(text))
    except yaml.MarkedYAMLError as err:
        return [], [Finding(path, f"{_line(err.problem_mark)}{err.problem or err.context}")]
    except (yaml.YAMLError, ValueError) as err:  # ValueError: a date that there is not
        return [], [Finding(path, " ".join(str(err).split()))]
    documents: list[tuple[str, Any]] = []
    findings: list[Finding] = []
    for index, (node, value) in enumerate(zip(nodes, values, strict=True)):
        where = path if len(nodes) == 1 else at(path, f"documents[{index}]")
        documents.append((where, value))
        _find_twins(node, where, findings, set())
    return documents, findings


def _line(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _find_twins(node: yaml.Node | None, path: str, findings: list[Finding], seen: set[int]) -> None:
    if id(node) in seen:  # an alias, looked at where its anchor is
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _find_twins(item, at(path, index), findings, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            where, name, line = at(path, key.value), (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                text = f"is there twice, on lines {lines[name]} and {line}; only the last counts"
                findings.append(Finding(where, text))
            lines[name] = line
            _find_twins(value, where, findings, seen)
