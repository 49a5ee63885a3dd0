"""Kernels compile also where nothing can be kept on disk."""

from __future__ import annotations

import importlib

import pytest

from fieldstone.services.storage.codes.compiled import compiled


def test_a_machine_without_a_writable_place_compiles_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(x: int) -> int:
        return 2 * x

    caching = importlib.import_module("numba.core.caching")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="cannot cache"):
        importlib.import_module("numba").njit("int64(int64)", cache=True)(twice)
    assert compiled("int64(int64)")(twice)(21) == 42
