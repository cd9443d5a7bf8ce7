"""Puts a changed function into a module that is already loaded, so that a mutant needs no second import.

What runs while a module is imported (constants, defaults, bodies of classes) cannot be exchanged this way; it says so.
"""

from __future__ import annotations

import functools
import sys
from types import CodeType, FunctionType, ModuleType


def swap(module: ModuleType, where: str, source: str) -> bool:
    """Give the function `where` of a loaded module the code that it has in `source`; False where that is no way."""
    whole = compile(source, str(module.__file__), "exec", dont_inherit=True)
    code, held = whole, [module.__dict__]
    for name in where.split(".") if where else []:
        found = [one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == name]
        if len(found) != 1:
            return False
        code = found[0]
        value = held[-1].get(name)
        if not isinstance(value, type):
            return _into(value, code)
        held.append(value.__dict__)  # type: ignore[arg-type]
    return False


def _into(value: object, code: CodeType) -> bool:
    while not isinstance(value, FunctionType):
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        elif isinstance(value, property) and value.fset is None:
            value = value.fget
        elif hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            return False
    if value.__code__ == code or value.__code__.co_freevars != code.co_freevars:
        return False
    value.__code__ = code
    return True


def forget(*packages: str) -> None:
    """Empty every cache of these packages: what the sound code put there hides a fault."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in packages:
            for value in list(vars(module).values()):
                for held in (value, *(vars(value).values() if isinstance(value, type) else ())):
                    if isinstance(held, functools._lru_cache_wrapper):
                        held.cache_clear()
