"""Small faults in a source: one changed comparison, number, operator, condition or statement at a time.

It runs nothing. Sentences of errors, docstrings and annotations are left alone: they change no behaviour.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitXor: ast.BitOr,
}


class Mutant(NamedTuple):
    """One fault; `where` is the function, `change` old and new text: together its name from version to version."""

    where: str
    change: str
    line: int
    last: int
    make: Callable[[], str]

    @property
    def name(self) -> tuple[str, str]:
        """What it is known by."""
        return self.where, self.change

    @property
    def source(self) -> str:
        """The whole changed source."""
        return self.make()


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a source, in order of its lines; of those that read alike in one function all but the first have a
    number."""
    tree = ast.parse(source)
    met: Counter[tuple[str, str]] = Counter()
    for where, statement, path in _places(tree):
        for changed in _changes(statement):
            old, new = ast.unparse(_at(tree, path)), ast.unparse(changed)
            name = f"{_line(tree, path)} :: {old} -> {new}"
            met[where, name] += 1
            count = met[where, name]
            line, last = _lines(tree, path)
            yield Mutant(
                where,
                name if count == 1 else f"{name} ({count})",
                line,
                last,
                partial(_changed, tree, path, changed),
            )


def _changed(tree: ast.Module, path: Path, node: ast.AST) -> str:
    """The source with this node in its place, which is put back."""
    old = _at(tree, path)
    _put(tree, path, node)
    try:
        return ast.unparse(tree)
    finally:
        _put(tree, path, old)


Path = tuple[tuple[str, int | None], ...]


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.AST, Path]]:
    """Nodes that may change, the function they stand in, and the way to them."""
    yield from _walk(tree, "", ())


def _walk(node: ast.AST, where: str, path: Path) -> Iterator[tuple[str, ast.AST, Path]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        where = f"{where}.{node.name}".strip(".")
    yield where, node, path
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment") or _quiet(node, field):
            continue
        if isinstance(value, ast.AST):
            yield from _walk(value, where, (*path, (field, None)))
        elif isinstance(value, list):
            for at, item in enumerate(value):
                if isinstance(item, ast.AST) and not _is_text(item):
                    yield from _walk(item, where, (*path, (field, at)))


def _quiet(node: ast.AST, field: str) -> bool:
    """What stands in an error is its sentence; what stands in an f-string is for people."""
    return isinstance(node, ast.Raise | ast.JoinedStr | ast.ImportFrom | ast.Import | ast.Assert)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            if type(op) in COMPARED:
                changed = copy.deepcopy(node)
                changed.ops[at] = COMPARED[type(op)]()
                yield changed
    elif isinstance(node, ast.BoolOp):
        joined = copy.deepcopy(node)
        joined.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield joined
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        counted = copy.deepcopy(node)
        counted.op = COMPUTED[type(node.op)]()
        yield counted
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.copy_location(ast.Pass(), node)
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.copy_location(ast.Return(ast.Constant(None)), node)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.AugAssign) and type(node.op) in COMPUTED:
        added = copy.deepcopy(node)
        added.op = COMPUTED[type(node.op)]()
        yield added


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.copy_location(ast.Constant(not value), node)
    elif isinstance(value, int):
        yield ast.copy_location(ast.Constant(value + 1), node)
    elif isinstance(value, bytes) and value:
        yield ast.copy_location(ast.Constant(value[:-1] + bytes((value[-1] ^ 1,))), node)


def _at(tree: ast.AST, path: Path) -> ast.AST:
    node = tree
    for field, at in path:
        value = getattr(node, field)
        node = value if at is None else value[at]
    return node


def _lines(tree: ast.AST, path: Path) -> tuple[int, int]:
    """First and last line of the statement around a node; of one with a body, its head."""
    around: ast.AST = tree
    for at in range(1, len(path) + 1):
        node = _at(tree, path[:at])
        if isinstance(node, ast.stmt):
            around = node
    first, last = getattr(around, "lineno", 0), getattr(around, "end_lineno", 0)
    body = getattr(around, "body", None) or [case.pattern for case in getattr(around, "cases", [])]
    return first, max(first, body[0].lineno - 1) if body and isinstance(around, ast.stmt) else last


def _line(tree: ast.AST, path: Path) -> str:
    """The statement around a node, in one short line, so that a change has a name that outlives line numbers."""
    node: ast.AST = tree
    around: ast.AST = tree
    for field, at in path:
        value = getattr(node, field)
        node = value if at is None else value[at]
        if isinstance(node, ast.stmt):
            around = node
    return ast.unparse(around).splitlines()[0][:90] if isinstance(around, ast.stmt) else ""


def _put(tree: ast.AST, path: Path, node: ast.AST) -> None:
    parent = _at(tree, path[:-1])
    field, at = path[-1]
    if at is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[at] = node
