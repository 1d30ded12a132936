"""The prices that readers of any page can change, as JSON for the script of the unit switch."""

from __future__ import annotations

import json
import re

from vlmnb.book import explorer

ASKED = ("hire", "use", "tariff")
_BLOCK = re.compile(r'<script type="application/json" id="vlmnb-prices">.*?</script>\n', re.DOTALL)


def asked(page: str) -> str:
    """Return a page's HTML with the prices it needs, in place of older ones; none if nothing is paid for."""
    page = _BLOCK.sub("", page)
    if "data-amount=" not in page:
        return page
    of = json.dumps({name: explorer.CONTENT["prices"][name] for name in ASKED}).replace("<", "\\u003c")
    block = f'<script type="application/json" id="vlmnb-prices">{of}</script>\n'
    return page.replace("</body>", f"{block}</body>", 1)
