"""A static plan for people: a table for the terminal and a heat map as a page."""

from __future__ import annotations

from html import escape

from raysplit.planner.static_plan import Plan, Row
from raysplit.report.html import filled, html_table
from raysplit.utils.text_table import DASH, aligned, number

_COLUMNS = (
    "cut",
    "level",
    "bytes up\nan image",
    "training bytes\nup and down",
    "device\nms",
    "link\nms",
    "server\nms",
    "together\nms",
    "device\nMiB",
    "",
)


def as_table(plan: Plan) -> str:
    """Return a plan as text; rows that cannot be say why, the quickest of the others is marked."""
    best = plan.best()
    body = [_cells(row, "← soonest" if row is best else row.fault or "") for row in plan.rows]
    return "\n".join([*_facts(plan), "", aligned(_COLUMNS, body, 2)])


def as_page(plan: Plan) -> str:
    """Return a plan as an HTML page: milliseconds from image to answer for each cut and level, coloured."""
    best = plan.best()
    body = [_cells(row, "soonest" if row is best else row.fault or "") for row in plan.rows]
    head = [name.replace("\n", " ") for name in _COLUMNS]
    facts = "".join(f"<p>{escape(line)}</p>" for line in _facts(plan))
    return filled("plan.html", title=escape(plan.model), facts=facts, map=_map(plan), table=html_table(head, body, 2))


def _facts(plan: Plan) -> list[str]:
    link, known = plan.link, "×".join(map(str, plan.shape))
    rate = "" if plan.rate is None else f"; {plan.rate:g} images/s are asked for"
    return [
        f"{plan.model} for {plan.data}, {known}: seconds of one image, from operations and bytes alone{rate}",
        f"link     {link.name}: {link.up_bit_s / 1e6:g} Mbit/s up, {link.down_bit_s / 1e6:g} down, round trip "
        f"{1000 * link.round_trip_s:g} ms",
        *(
            f"{side}   {one.name}: {one.gflops_per_s:g} GFLOP/s, {one.memory_mib:,.0f} MiB ({one.source})"
            for side, one in (("device", plan.device), ("server", plan.server))
        ),
    ]


def _cells(row: Row, note: str) -> tuple[str, ...]:
    trains = row.train_bytes_up + row.train_bytes_down
    return (
        row.cut,
        row.level or DASH,
        f"{'' if row.exact else '≤ '}{row.bytes_up:,.0f}",
        f"{'' if row.exact else '≤ '}{trains:,.0f}" if trains else DASH,
        number(1000 * row.device_s),
        number(1000 * row.link_s),
        number(1000 * row.server_s),
        number(1000 * row.total_s),
        f"{row.device_mib:,.1f}",
        note,
    )


def _map(plan: Plan) -> str:
    """Return the table of total milliseconds, cuts down and levels across, green for the least to red."""
    cuts = [row for row in plan.rows if row.level is not None]
    levels, names = (list(dict.fromkeys(getattr(row, key) for row in cuts)) for key in ("level", "cut"))
    found = {(row.cut, row.level): row for row in cuts}
    spans = [row.total_s for row in plan.rows if row.fault is None] or [1.0]
    head = "".join(f"<th>{escape(level)}</th>" for level in levels)
    lines = []
    for row in plan.rows:
        if row.level is None:
            lines.append(f'<tr><th class="text">{escape(row.cut)}</th>{_cell(row, spans, len(levels))}</tr>')
    for name in names:
        cells = "".join(_cell(found.get((name, level)), spans) for level in levels)
        lines.append(f'<tr><th class="text">{escape(name)}</th>{cells}</tr>')
    return f'<div class="wide"><table class="heat"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _cell(row: Row | None, spans: list[float], width: int = 1) -> str:
    span = f' colspan="{width}"' if width > 1 else ""
    if row is None:
        return f"<td{span}></td>"
    if row.fault is not None:
        return f'<td{span} class="fault" title="{escape(row.fault)}">{number(1000 * row.total_s)}</td>'
    low, high = min(spans), max(spans)
    share = (row.total_s - low) / (high - low) if high > low else 0.0
    hue = 130 * (1 - share**0.5)
    return f'<td{span} style="background: hsl({hue:.0f} 60% 82%)">{number(1000 * row.total_s)}</td>'
