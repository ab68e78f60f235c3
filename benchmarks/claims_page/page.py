"""Writes the claims' page as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from claims_page.results import Meta, Results, TrafficRow, TrafficTable
from claims_page.table import ANCHORS, CLAIMS, Claim
from claims_page.traffic import REFERENCE, above_device_alone, thinnest_within
from claims_page.verdict import Measured, in_short

_HEAD = """\
# Claims and figures

What was published about the methods here, what was measured, and whether one holds against the other. This page is
written by `python benchmarks/claims.py` from the committed results and from a table of claims;
no verdict is written by hand.
"""
_RULES = """\
## Rules

- **not measured yet**: no committed result has the rows that the claim needs.
- **not comparable**: one of the claim's conditions does not hold; the last column names it, with both values. Our
  figure is given all the same.
- **reached**: all conditions hold, and the mean over seeds is as good as the published figure. Each claim says what
  counts as no loss.
- **missed**: all conditions hold, and our figure is worse; the last column gives both.

An absolute accuracy is compared on the published data and networks, a cost (latency, size, energy) on the published
networks. What a way of training gains is compared in our settings, against a baseline of the same result.

Traffic is the bytes of all messages of training, both ways, headers included. Some publications count *values* (floats
that cross) instead: at equal bits per value both ratios are the same, otherwise they differ, so the tables say which.
Differences of accuracy are in percentage points, ± the standard error of the difference over seeds. Rows are those of
the result, trained at the commits named; the commands are [below](#results).
"""


def page(results: Results) -> str:
    """Return the page."""
    found = {claim.title: claim.measure(results) for claim in CLAIMS}
    parts = [_HEAD, _RULES]
    parts += ["## In short\n", _summary(found)]
    for source in dict.fromkeys(claim.source for claim in CLAIMS):
        parts.append(f"## {source.name}\n")
        parts += [_section(claim, found[claim.title]) for claim in CLAIMS if claim.source == source]
    parts += ["## Anchors\n", _anchors(results.traffic)]
    parts += ["## Results\n", _results(results.metas())]
    return "\n".join(parts)


def _summary(found: dict[str, list[Measured]]) -> str:
    rows = (
        (f"[{claim.title}](#{anchor(claim.title)})", claim.source.short, in_short(found[claim.title]))
        for claim in CLAIMS
    )
    return _table(("claim", "of", "verdict"), rows)


def _section(claim: Claim, found: Sequence[Measured]) -> str:
    about = [
        f"### {claim.title}\n",
        f"- Published ({claim.section}): {claim.says}." if claim.section else f"- Target: {claim.says}.",
        *([f"- Setting: {claim.setting}."] if claim.setting else []),
        f"- Compared: {claim.rule}.\n",
    ]
    if not found:
        return "\n".join([*about, "**not measured yet**\n"])
    heads = ("rows", "result", "ours", "seeds", "trained at", "verdict", "why")
    rows = (
        (
            one.rows,
            f"[{one.result}]({_file(one.result)})",
            one.figure,
            "–" if one.seeds is None else str(one.seeds),
            ", ".join(_short(commit) for commit in one.commits) or "–",
            f"**{one.verdict.value}**",
            one.reason,
        )
        for one in found
    )
    return "\n".join([*about, _table(heads, rows)])


def _anchors(tables: dict[str, TrafficTable]) -> str:
    text = (
        "What other methods have reached, in settings of their own, and the row of each traffic table here that sends "
        f"least at the same loss against `{REFERENCE}` (0.5 points where the source only calls its loss small). Ours "
        "counts bytes. Without a server that is needed, much compression says little: how far the device alone is "
        "below the whole network stands beside it.\n"
    )
    rows = []
    for one in ANCHORS:
        for name, table in tables.items():
            row, gap = thinnest_within(table, one.points), above_device_alone(table)
            if row is not None:
                rows.append(
                    (
                        one.method,
                        f"{one.reduction} ({one.counted})",
                        one.lost,
                        f"{one.setting}; {one.source}",
                        f"{row.times_less:,.4g}×, `{row.name}` ({_levels(row)})",
                        f"[{name}]({_file(name)})",
                        "not measured" if gap is None else f"{gap:.1f} below",
                    )
                )
    heads = ("method", "times less (of)", "points lost", "setting, source", "ours (bytes)", "result", "device alone")
    return text + "\n" + _table(heads, rows)


def _results(metas: dict[str, Meta]) -> str:
    rows = (
        (
            f"[{name}]({_file(name)})",
            f"`{meta.command}`",
            _short(meta.commit),
            meta.machine,
            ", ".join(map(str, meta.seeds)),
            "; ".join(part for part in (meta.model, meta.subset) if part),
        )
        for name, meta in metas.items()
    )
    return _table(("result", "command", "commit", "machine", "seeds", "setting"), rows)


def anchor(title: str) -> str:
    """Return the name of a heading's anchor.

    >>> anchor("A sub-model is 34.1 times smaller")
    'a-sub-model-is-341-times-smaller'
    """
    return re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")


def _file(result: str) -> str:
    return f"../benchmarks/results/{result}.json"


def _levels(row: TrafficRow) -> str:
    first, *more = row.levels or ("–",)
    return f"`{first}` to `{more[-1]}`" if more else f"`{first}`"


def _short(commit: str) -> str:
    """Return seven digits of a commit, and that there were changes beside it."""
    digits, plus, changes = commit.partition("+")
    return f"{digits[:7]}{plus}{changes}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
