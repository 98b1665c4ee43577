"""Functions of several students that are the same syntax tree: a hint for a person to look, and nothing more.

Names that a cell defines, comments, docstrings, annotations and formatting don't count. Points never depend on it.
Python's own `ast` says whether two trees are the same. What finds similar text beyond that (copydetect, JPlag) brings
its own plots, pages or Java, and reports much that is alike because there are few ways to write an exercise.
"""

import ast
import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from scripts.course.judging.clean import plain_python
from scripts.course.report import safe

# Nodes of a function's tree. The shortest solutions of the labs have about 60: those are written alike by people who
# never met.
SMALLEST = 80
MOST_SHARED = 1 / 4  # of the class; what more people wrote was taught, or is the obvious way


class Similar(NamedTuple):
    """A function that several students have in common."""

    lab: str
    exercise: str
    function: str  # as the first of them calls it
    size: int  # nodes of its tree
    students: list[str]


def similar(lab: str, answers: dict[str, dict[str, str]], known: dict[str, list[str]]) -> list[Similar]:
    """The functions that students have in common, by exercise, the largest first.

    answers: the source of the answer cell by exercise, by student; known: sources by exercise that nobody needs to copy
    from each other: the solution, and what was handed out. Left out are functions of fewer than `SMALLEST` nodes, those
    in `known`, and those of more than two students that more than `MOST_SHARED` of the class have.
    """
    found = []
    for exercise in known:
        given = {tree for source in known[exercise] for _, tree, _ in functions(source)}
        groups: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        for student, cells in answers.items():
            for name, tree, size in functions(cells.get(exercise, "")):
                if size >= SMALLEST and tree not in given:
                    groups[tree].setdefault(student, (name, size))
        found += [
            Similar(lab, exercise, *next(iter(group.values())), sorted(group))
            for group in groups.values()
            if 2 <= len(group) <= max(2, MOST_SHARED * len(answers))
        ]
    return sorted(found, key=lambda each: (list(known).index(each.exercise), -each.size, each.students))


def functions(source: str) -> Iterable[tuple[str, str, int]]:
    """The functions and classes of a cell: name, tree as text without what doesn't count, and its number of nodes."""
    try:
        cell = ast.parse(plain_python(source))
        names = _names_set(cell)
        for statement in cell.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = statement.name
                tree = _Plain(names).visit(statement)
                yield name, ast.dump(tree), sum(1 for _ in ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # nothing that runs


def similar_csv(found: list[Similar]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["lab", "exercise", "function", "nodes", "students"])
    writer.writerows([s.lab, s.exercise, s.function, s.size, safe(" | ".join(s.students))] for s in found)
    return file.getvalue()


def _names_set(cell: ast.AST) -> set[str]:
    """All names that a cell gives a meaning of its own."""
    names = set()
    for node in ast.walk(cell):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
    return names


class _Plain(ast.NodeTransformer):
    """Number the names of a cell by where they first stand in a function; drop docstrings and annotations."""

    def __init__(self, names: set[str]):
        self.names = names
        self.numbers: dict[str, str] = {}

    def _number(self, name: str) -> str:
        if name not in self.names:
            return name
        return self.numbers.setdefault(name, f"_{len(self.numbers)}")

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in ("asname",) if isinstance(node, ast.alias) else ("name", "id", "arg"):
            if isinstance(getattr(node, field, None), str) and not isinstance(node, ast.keyword):
                setattr(node, field, self._number(getattr(node, field)))
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            node.names = [self._number(name) for name in node.names]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            if not isinstance(node, ast.ClassDef):
                node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return super().generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Pass()
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value))
