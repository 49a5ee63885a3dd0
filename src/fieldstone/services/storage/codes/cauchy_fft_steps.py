"""The kinds of steps that `cauchy_fft` plans and its kernel runs. x, y: rows read; v, w: rows written; c, s: constants."""

from __future__ import annotations

DOWN = 0  # v = x + c·y, w = v + y
DOWN_FIRST = 1  # v = x + c·y
UP = 2  # w = x + y, v = x + c·w
SUM = 3  # w = x + y, v = x
OUT = 4  # v = s·(x + c·y), w = v + s·y
OUT_FIRST = 5  # v = s·(x + c·y)
