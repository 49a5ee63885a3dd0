"""Public names mean the same whatever was imported before: no module of the package has the name of a function."""

from __future__ import annotations

import pkgutil

import pytest

import fieldstone.economy.backtest
import fieldstone.economy.flywheel
import fieldstone.metrics


@pytest.mark.parametrize(
    "package", [fieldstone.metrics, fieldstone.economy.backtest, fieldstone.economy.flywheel], ids=lambda p: p.__name__
)
def test_no_module_hides_a_public_name(package: object) -> None:
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}  # type: ignore[attr-defined]
    names = set(package.__all__)  # type: ignore[attr-defined]
    assert modules & names == set()
    for name in names:
        assert getattr(package, name) is not None
