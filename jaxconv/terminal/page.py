"""A page of HTML that needs nothing else: its style and its script stand in it, the script named by its digest."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

_FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'sha256-{digest}'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
{body}
<script>{js}</script>
</body>
</html>
"""


def page(title: str, css: str, body: str, js: str) -> str:
    """The text of the page; `css` is added to the style that all pages share, and no other script than `js` can run."""
    digest = base64.b64encode(hashlib.sha256(js.encode()).digest()).decode()
    common = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return _FRAME.format(digest=digest, title=title, css=common + css, js=js, body=body)
