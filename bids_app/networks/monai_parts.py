"""The few parts of MONAI that networks and losses are made of, without the rest of it, which takes longer than torch.

``import monai`` loads every module that it has, and with them matplotlib, pandas and more: 4.0 s of CPU time after
torch, of which these parts take 0.6 s. Here the source files of `OWN` run under the name `PRIVATE`, beside MONAI. What
others import of MONAI is not touched: whoever imports ``monai`` gets all of it, before and after.
"""

from __future__ import annotations

import builtins
import importlib.util
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

#: What can be imported from here, and the module of MONAI that has it.
PARTS = {
    "SegResNetDS": "monai.networks.nets.segresnet_ds",
    "SegResBlock": "monai.networks.nets.segresnet_ds",
    "DiceCELoss": "monai.losses.dice",
}
#: Modules of MONAI whose own source runs; names that a package re-exports are looked for in those of that package.
OWN = (
    "monai.config.type_definitions",
    "monai.utils.module",
    "monai.utils.enums",
    "monai.utils.misc",
    "monai.utils.component_store",
    "monai.utils.deprecate_utils",
    "monai.utils.type_conversion",
    "monai.networks.utils",
    "monai.networks.layers.factories",
    "monai.networks.layers.utils",
    "monai.networks.blocks.upsample",
    "monai.networks.nets.segresnet_ds",
    "monai.metrics.utils",
    "monai.losses.utils",
    "monai.losses.spatial_mask",
    "monai.losses.focal_loss",
    "monai.losses.dice",
)
#: Name of the package under which they run.
PRIVATE = "bids_app.networks.monai_parts.monai"

_lock = threading.RLock()


def __getattr__(name: str) -> Any:
    """A name of `PARTS`; from the whole of MONAI where its version does not let the parts be loaded alone."""
    if name not in PARTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _lock:
        try:
            found = getattr(_module(PARTS[name]), name)
        except Exception as error:
            logging.getLogger(__name__).debug("all of MONAI is loaded: %s", error)
            found = getattr(importlib.import_module(PARTS[name]), name)
    globals()[name] = found
    return found


def plain_imports(source: str) -> str:
    """Source whose imports from here are imports from MONAI, for where this program is not."""
    lines = source.splitlines(keepends=True)
    head = f"from {__name__} import "
    for row, line in enumerate(lines):
        if line.startswith(head):
            names = line.removeprefix(head).strip().split(", ")
            lines[row] = "".join(f"from {PARTS[name]} import {name}\n" for name in names)
    return "".join(lines)


class _Elsewhere:
    """A name of a module that is not `OWN`: the real one of MONAI as soon as it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._real()(*given, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())


class _Package(ModuleType):
    """Stands for a package of MONAI, or a module of it that is not `OWN`; its own source does not run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        whole = f"{_public(self.__name__)}.{name}"
        if whole in OWN or any(own.startswith(f"{whole}.") for own in OWN):
            return _module(whole)
        for own in OWN:
            if own.rpartition(".")[0] == _public(self.__name__) and hasattr(_module(own), name):
                return getattr(_module(own), name)
        if self.__name__ == PRIVATE:
            return getattr(importlib.import_module("monai"), name)
        return _Elsewhere(_public(self.__name__), name)


def _logger(module_name: str = "monai", *_: Any, **__: Any) -> logging.Logger:
    """As ``monai.apps.utils.get_logger``, without the handler that writes to standard output."""
    return logging.getLogger(module_name)


def _given(name: str) -> dict[str, Any]:
    """What a package that is not `OWN` has from the start: the names that MONAI uses while its modules load."""
    if name == "monai":
        return {"__version__": version("monai")}
    return {"get_logger": _logger} if name == "monai.apps.utils" else {}


def _public(name: str) -> str:
    """The name in MONAI of what is loaded under `PRIVATE`."""
    return "monai" + name.removeprefix(PRIVATE)


def _module(name: str) -> ModuleType:
    """A module of MONAI by its name there, loaded under `PRIVATE`."""
    private = PRIVATE + name.removeprefix("monai")
    with _lock:
        if private in sys.modules:
            return sys.modules[private]
        if name not in OWN:
            sys.modules[private] = _Package(private)
            sys.modules[private].__dict__.update(_given(name))
            return sys.modules[private]
        path = str(_root().joinpath(*name.split(".")[1:])) + ".py"
        module = ModuleType(private)
        module.__dict__.update(
            __file__=path,
            __package__=private.rpartition(".")[0],
            __spec__=ModuleSpec(private, None, origin=path),
            __builtins__=vars(builtins) | {"__import__": _import},
        )
        sys.modules[private] = module
        try:
            SourceFileLoader(private, path).exec_module(module)
        except BaseException:
            del sys.modules[private]
            raise
        return module


def _root() -> Path:
    """The folder of MONAI's package, which is not loaded for it."""
    spec = importlib.util.find_spec("monai")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("MONAI is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def _import(
    name: str,
    namespace: Mapping[str, object] | None = None,
    local: Mapping[str, object] | None = None,
    names: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """What an ``import`` statement in a module of `OWN` does: of MONAI it gets what is loaded here."""
    if level and namespace:
        name = _public(importlib.util.resolve_name("." * level + name, str(namespace["__package__"])))
    if name.partition(".")[0] != "monai":
        return builtins.__import__(name, namespace, local, names or (), level)
    return _module(name if names else "monai")
