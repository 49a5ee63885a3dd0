"""The generated reference pages: each from the data, types and docstrings that the program itself runs on.

`scripts/docs` writes them to `docs/reference/`; a test compares what is committed with what `pages` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["makers", "pages"]


def pages() -> dict[str, str]:
    """Return file name → Markdown of every generated page. Opens a node in a temporary folder for its routes."""
    return {name: make() for name, make in makers().items()}


def makers() -> Mapping[str, Callable[[], str]]:
    """Return file name → function that makes the page."""
    from fieldstone.reference import assess, commands, reasons, report, routes, sealed, settings
    from fieldstone.services.sensing.rules.render import render_markdown as sensing_rules
    from fieldstone.services.storage.rules.render import render_markdown as storage_rules

    return {
        "assess-questions.md": assess.page,
        "command-line.md": commands.page,
        "http.md": routes.page,
        "network-toml.md": settings.page,
        "reasons.md": reasons.page,
        "report.md": report.page,
        "sealed-epochs.md": sealed.page,
        "sensing-rules.md": sensing_rules,
        "storage-rules.md": storage_rules,
    }
