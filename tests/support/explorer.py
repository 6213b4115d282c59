"""The page of `jaxconv explore`, asked from a test."""

from __future__ import annotations

import json

from browser import Browser


def go(tab: Browser, address: str) -> None:
    """Show what an address says, as if it had been opened."""
    tab.do(f"page.state = stateOf({json.dumps(address)}), page.controls.linked = true, page.draw()")
