"""A static plan for people: a table for the terminal, and a page with a heat map."""

from __future__ import annotations

from html import escape

from raysplit.planner.static_plan import PlanRow, StaticPlan
from raysplit.planner.verdict import UNKNOWN, recommend, verdict
from raysplit.report.html import fill_template, html_table
from raysplit.utils.text_table import DASH, align_table, number

_STAR = "★"
"""What is recommended, beside its color."""
_COLUMNS = (
    "cut",
    "level",
    "bytes up\nper image",
    "training bytes\nup and down",
    "device\nms",
    "link\nms",
    "server\nms",
    "total\nms",
    "device\nMiB",
    "",
)


def format_table(plan: StaticPlan) -> str:
    """Return a plan as text; the verdict first. Infeasible rows say why, and the recommended one is marked."""
    best = recommend(plan)
    body = [_cells(row, _note(row, "← recommended" if row is best else "")) for row in plan.rows]
    return "\n".join([verdict(plan), UNKNOWN, "", *_header(plan), "", align_table(_COLUMNS, body, 2)])


def format_page(plan: StaticPlan) -> str:
    """Return a plan as an HTML page: milliseconds from image to answer for each cut and level, colored."""
    best = recommend(plan)
    at = next((index for index, row in enumerate(plan.rows) if row is best), None)
    body = [_cells(row, _note(row, "recommended" if row is best else "")) for row in plan.rows]
    if at is not None:
        body[at] = (f"{_STAR} {body[at][0]}", *body[at][1:])
    head = [name.replace("\n", " ") for name in _COLUMNS]
    return fill_template(
        "plan.html",
        title=escape(plan.model),
        verdict=escape(verdict(plan)),
        unknown=escape(UNKNOWN),
        facts="".join(f"<p>{escape(line)}</p>" for line in _header(plan)),
        star="" if best is None else f" {_STAR} is recommended.",
        map=_heat_map(plan, best),
        table=html_table(head, body, 2, at),
    )


def _header(plan: StaticPlan) -> list[str]:
    link, shape = plan.platform.link, "×".join(map(str, plan.shape))
    rate = "" if plan.rate is None else f"; every part must sustain {plan.rate:g} images/s"
    machines = (("device", plan.platform.device), ("server", plan.platform.server))
    return [
        f"{plan.model} on {plan.data}, {shape}: time for one image, from operations and bytes alone{rate}",
        f"link     {link.name}: {link.up_bit_s / 1e6:g} Mbit/s up, {link.down_bit_s / 1e6:g} down, round trip "
        f"{1000 * link.round_trip_s:g} ms",
        *(
            f"{side}   {machine.name}: {machine.gflops_per_s:g} GFLOP/s, {machine.memory_mib:,.0f} MiB "
            f"({machine.source})"
            for side, machine in machines
        ),
    ]


def _note(row: PlanRow, mark: str) -> str:
    """Return what the last column says: a mark or a fault, and equal cuts."""
    equal = f"same as {', '.join(row.equal_cuts)}" if row.equal_cuts else ""
    return "; ".join(text for text in (mark, row.fault, equal) if text)


def _cells(row: PlanRow, note: str) -> tuple[str, ...]:
    bound, training = "" if row.exact else "≤ ", row.train_bytes_up + row.train_bytes_down
    return (
        row.cut,
        row.level or DASH,
        f"{bound}{row.bytes_up:,.0f}",
        f"{bound}{training:,.0f}" if training else DASH,
        number(1000 * row.device_s),
        number(1000 * row.link_s),
        number(1000 * row.server_s),
        number(1000 * row.total_s),
        f"{row.device_mib:,.1f}",
        note,
    )


def _heat_map(plan: StaticPlan, best: PlanRow | None) -> str:
    """Return a table of total milliseconds, a row per cut and a column per level, from green (least) to red.

    The cell of `best` is marked.
    """
    cuts = [row for row in plan.rows if row.level is not None]
    levels = list(dict.fromkeys(row.level for row in cuts if row.level is not None))
    by_cell = {(row.cut, row.level): row for row in cuts}
    feasible_s = [row.total_s for row in plan.rows if row.fault is None] or [1.0]
    head = "".join(f"<th>{escape(level).replace('·', '·<wbr>').replace('/', '/<wbr>')}</th>" for level in levels)
    lines = []
    for row in plan.rows:
        if row.level is None:
            lines.append(
                f'<tr><th class="text">{escape(row.cut)}</th>{_heat_cell(row, best, feasible_s, len(levels))}</tr>'
            )
    for name in dict.fromkeys(row.cut for row in cuts):
        cells = "".join(_heat_cell(by_cell.get((name, level)), best, feasible_s) for level in levels)
        lines.append(f'<tr><th class="text">{escape(name)}</th>{cells}</tr>')
    return f'<div class="wide"><table class="heat"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _heat_cell(row: PlanRow | None, best: PlanRow | None, feasible_s: list[float], width: int = 1) -> str:
    span = f' colspan="{width}"' if width > 1 else ""
    if row is None:
        return f"<td{span}></td>"
    if row.fault is not None:
        return f'<td{span} class="fault" title="{escape(row.fault)}">{number(1000 * row.total_s)}</td>'
    low, high = min(feasible_s), max(feasible_s)
    share = (row.total_s - low) / (high - low) if high > low else 0.0
    hue = 130 * (1 - share**0.5)
    ground, text = f'style="background: hsl({hue:.0f} 60% 82%)"', number(1000 * row.total_s)
    if row is best:
        return f'<td{span} class="best" {ground}><span role="img" aria-label="recommended">{_STAR}</span> {text}</td>'
    return f"<td{span} {ground}>{text}</td>"
