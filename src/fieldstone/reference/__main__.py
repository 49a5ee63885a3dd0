"""Write the generated reference pages: `python -m fieldstone.reference FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from fieldstone.reference import pages

folder = Path(sys.argv[1])
for name, text in pages().items():
    (folder / name).write_text(text, encoding="utf-8")
    print(folder / name)
