"""ANTs' Python package without the parts that plot, learn and fit, whose libraries are three quarters of its import."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

#: What is left out: with it, statsmodels, scikit-learn, scipy.stats and matplotlib are loaded.
LEFT_OUT = ("ants.plotting", "ants.learn", "ants.deeplearn", "ants.math.quantile")


class _LeftOut(ModuleType):
    """Stands in for a part while ANTs is loaded: every name can be taken from it, and none can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(f"{self.__name__}.{name} is left out here; import {self.__name__} for it")

        return absent


def load_ants() -> Any:
    """The package ``ants``; where it was not loaded before, without `LEFT_OUT`.

    On one core that takes 1.0 s of CPU time instead of 3.2 s. What is left out can still be imported by its full name.
    """
    if "ants" not in sys.modules:
        sys.modules.update({name: _LeftOut(name) for name in LEFT_OUT})
        try:
            import ants  # noqa: F401
        finally:
            for name in LEFT_OUT:
                sys.modules.pop(name, None)
    return sys.modules["ants"]
