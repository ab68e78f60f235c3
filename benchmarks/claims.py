"""The claims' page: what was published, what was measured here, and whether it was reached.

    python benchmarks/claims.py

Writes docs/claims.md from benchmarks/results/*.json and the claims in claims_table.py, without training anything; run
it again after every new result. The last line it prints is one JSON object: the verdicts on each claim.
"""

from __future__ import annotations

import json
from pathlib import Path

from claims_page.page import page
from claims_page.results import read_results
from claims_page.table import CLAIMS
from claims_page.verdict import in_short

PAGE = Path(__file__).resolve().parent.parent / "docs" / "claims.md"


def main() -> None:
    results = read_results()
    PAGE.write_text(page(results))
    verdicts = {claim.title: in_short(claim.measure(results)) for claim in CLAIMS}
    for title, verdict in verdicts.items():
        print(f"{title:52}{verdict}")
    print(json.dumps({"page": "docs/claims.md", "verdicts": verdicts}))


if __name__ == "__main__":
    main()
