"""How many examples property tests draw."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def examples(count: int, **more: Any) -> settings:
    """Return settings for `count` examples in the slow lane (`make test-slow`), and a tenth of them elsewhere."""
    slow = settings.get_current_profile_name() == "slow"
    return settings(max_examples=count if slow else max(20, count // 10), **more)
