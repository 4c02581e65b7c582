"""Self-contained HTML page of a single figure, for range tests and the scripts of `analysis/`."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


def figure_page(title: str, lines: Sequence[str], figure: go.Figure) -> str:
    """Build a self-contained page from a title, lines of text and a figure."""
    # Plotly sets style attributes while it draws. Scripts are inline and no request is allowed. The
    # policy is looser than that of a report ('unsafe-inline' scripts), so every text is escaped.
    policy = (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    text = "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)
    drawing = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False}
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto;
padding: 0 1em; color-scheme: light dark }}</style>
<script>{get_plotlyjs()}</script></head>
<body><h1>{html.escape(title)}</h1>
{text}
{drawing}</body></html>
"""
