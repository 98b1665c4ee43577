"""Which statements of a notebook an exercise rests on.

A student writes more into an answer cell than functions: constants, a table that a loop fills, an import that may fail,
a name that an `if` chooses; and quick tries of the function, plots, prints. `needed` tells the two apart by names: it
keeps what sets or may change a name that the exercise's functions read, and what that reads in turn. So a quick try
runs nowhere where it could fail, take long, or change something.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator
from typing import NamedTuple

CODE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}  # as symtable calls them; a `:=` in one sets a name
# A call of one of these may set any name
_ANY_NAME = {"exec", "eval", "globals", "locals", "vars", "setattr"}


class Statement(NamedTuple):
    """One statement of a cell's top level, and the names of the notebook that it has to do with."""

    node: ast.stmt
    text: str
    cell: int
    in_answer: bool  # whether its cell is an answer cell
    sets: frozenset[str]  # also attributes and entries of a name: `table[3] = 4` sets `table`
    reads: frozenset[str]  # what is in its functions included
    changes: frozenset[str]  # names whose methods it calls or that it hands to a call: `table.append(4)`, `fill(table)`
    calls: frozenset[str]  # functions that it calls by their names
    inner: tuple[frozenset[str], frozenset[str]]  # what its functions set or change, and call, once they are called
    imports: frozenset[str]  # modules and what comes from them, functions and classes: what calls do not change
    anything: bool  # whether it may set names that are not written in it
    any_name: bool  # whether its functions may read names of their cell that are not written in them

    @property
    def is_definition(self) -> bool:
        """Whether it defines something and, decorators aside, does nothing else."""
        plain = isinstance(self.node, (ast.Assign, ast.AnnAssign)) and not _calls_something(self.node)
        return plain or isinstance(self.node, CODE)

    @property
    def may_run(self) -> bool:
        """Outside answer cells only what calls nothing: a call could load a model or change something."""
        return self.in_answer or self.is_definition or not _calls_something(self.node)

    @property
    def in_short(self) -> str:
        first = self.text.partition("\n")[0]
        return first if len(first) <= 60 else first[:60] + "…"


def statements(source: str, cell: int, in_answer: bool) -> list[Statement]:
    """The statements of a cell. Raises SyntaxError."""
    lines = re.split("\r\n|\r|\n", source)
    return [_statement(node, lines, cell, in_answer) for node in ast.parse(source).body]


def names_set(source: str, imports: bool = True) -> set[str]:
    """Names that the top level of a cell sets, with or without what it imports; empty if it does not parse."""
    found = _readable(source)
    return {name for s in found if imports or not isinstance(s.node, CODE[:2]) for name in s.sets}


def names_read(source: str) -> set[str]:
    """Names that a cell reads and that may come from other cells; empty if it does not parse."""
    return {name for s in _readable(source) for name in s.reads}


def names_tested(test: str) -> set[str]:
    """Names that a test cell takes from elsewhere: of the set-up cell, and what the exercise has to define."""
    return names_read(test) - names_set(test) - set(dir(builtins))


def _readable(source: str) -> list[Statement]:
    try:
        return statements(source, 0, True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def needed(names: Iterable[str], all_statements: list[Statement], library: set[str]) -> set[int]:
    """Indices of the statements that these names rest on.

    library: names of the set-up that are modules, functions or classes
    """
    touched = [touches(s, all_statements, library) for s in all_statements]
    wanted, kept = set(names), set()
    grown = True
    while grown:
        grown = False
        for index, statement in enumerate(all_statements):
            if index not in kept and (statement.anything or touched[index] & wanted):
                kept.add(index)
                wanted |= statement.reads
                if statement.any_name:
                    wanted |= {name for s in all_statements if s.cell == statement.cell for name in s.sets}
                grown = True
    return kept


def touches(statement: Statement, all_statements: list[Statement], library: set[str]) -> set[str]:
    """The names that a statement sets or may change, through the notebook's functions that it calls too."""
    fixed = library.union(dir(builtins), *(s.imports for s in all_statements))
    found, called, todo = set(statement.sets | (statement.changes - fixed)), set(), set(statement.calls)
    while todo:
        name = todo.pop()
        called.add(name)
        for other in all_statements:
            if name in other.sets:
                changed, calls = other.inner
                found |= changed - fixed
                todo |= calls - called
    return found


def _statement(node: ast.stmt, lines: list[str], cell: int, in_answer: bool) -> Statement:
    text = _text(node, lines)
    sets, reads, inner_sets = _names(node, text)
    executed, inside = list(_executed(node)), list(_inside_functions(node))
    stored = {_base(n) for n in executed if isinstance(n, (ast.Attribute, ast.Subscript)) and _is_store(n)}
    inner_stored = {_base(n) for n in inside if isinstance(n, (ast.Attribute, ast.Subscript)) and _is_store(n)}
    inner_changes = (inner_stored | _changed(inside)) & reads
    return Statement(
        node,
        text,
        cell,
        in_answer,
        frozenset(sets | stored - {""}),
        frozenset(reads),
        frozenset(_changed(executed)),
        frozenset(_called(executed)),
        (frozenset(inner_sets | inner_changes), frozenset(_called(inside) & reads)),
        frozenset(_imported(executed)),
        bool(_called(executed) & _ANY_NAME) or any(isinstance(n, ast.alias) and n.name == "*" for n in executed),
        bool(_called(inside) & {"exec", "eval", "globals"}),
    )


def _names(node: ast.stmt, text: str) -> tuple[set[str], set[str], set[str]]:
    """The notebook's names that a statement sets, that it reads, and that its functions declare global and set."""
    try:
        top = symtable.symtable(text, "<cell>", "exec")
    except SyntaxError:  # such as a top-level await: take every name in it for one of the notebook's
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        return {n.id for n in names if _is_store(n)}, {n.id for n in names}, set()
    sets = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    reads = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    inner_sets = set()
    tables = [(child, True) for child in top.get_children()]
    while tables:
        table, runs = tables.pop()
        runs = runs and (table.get_type() == "class" or table.get_name() in _COMPREHENSIONS)
        tables += [(child, runs) for child in table.get_children()]
        outer = [s for s in table.get_symbols() if s.is_global()]
        reads |= {s.get_name() for s in outer if s.is_referenced()}
        (sets if runs else inner_sets).update(s.get_name() for s in outer if s.is_assigned())
    return sets, reads, inner_sets


def _text(node: ast.stmt, lines: list[str]) -> str:
    decorators = getattr(node, "decorator_list", [])
    if decorators:
        return "\n".join(lines[min(d.lineno for d in decorators) - 1 : node.end_lineno])
    own = lines[node.lineno - 1 : node.end_lineno]
    own[-1] = own[-1].encode()[: node.end_col_offset].decode()  # columns are counted in bytes
    own[0] = own[0].encode()[node.col_offset :].decode()
    return "\n".join(own)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what runs with it: not the bodies of its functions."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += [*node.decorator_list, node.args, *([node.returns] if node.returns else [])]
        elif isinstance(node, ast.Lambda):
            todo.append(node.args)
        else:
            todo += ast.iter_child_nodes(node)


def _inside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for n in ast.walk(node):
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (inner for statement in n.body for inner in ast.walk(statement))
        elif isinstance(n, ast.Lambda):
            yield from ast.walk(n.body)


def _calls_something(node: ast.stmt) -> bool:
    return any(isinstance(n, (ast.Call, ast.Await)) for n in _executed(node))


def _called(nodes: list[ast.AST]) -> set[str]:
    return {n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _changed(nodes: list[ast.AST]) -> set[str]:
    """Names whose methods are called, or that are handed to a call."""
    found = set()
    for call in (n for n in nodes if isinstance(n, ast.Call)):
        if not isinstance(call.func, ast.Name):
            found.add(_base(call.func))
        found |= {_base(argument) for argument in [*call.args, *(keyword.value for keyword in call.keywords)]}
    return found - {""}


def _imported(nodes: list[ast.AST]) -> set[str]:
    aliases = {(n.asname or n.name).partition(".")[0] for n in nodes if isinstance(n, ast.alias)}
    return aliases | {n.name for n in nodes if isinstance(n, CODE[2:])}


def _base(node: ast.AST) -> str:
    """The name that an expression such as `a.b[3].c()` starts from, or "": what `f(a)` returns is part of no name."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return ""
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_store(node: ast.AST) -> bool:
    return isinstance(node.ctx, (ast.Store, ast.Del))
