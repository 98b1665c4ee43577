"""Run what a student's cells define, as far as one exercise rests on it, and say what is missing and why."""

import __future__

import ast
import asyncio
import inspect
import linecache
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from scripts.course.judging.statements import Statement, needed, statements, touches


class Notebook:
    """A student's code cells, read once for all exercises. Nothing runs here."""

    def __init__(self, cells: list[tuple[str, str]], setup: dict[str, Any]):
        """cells: the source of each, and the id of the exercise that it answers, "" for any other cell."""
        self.sources = [source for source, _ in cells]
        self.answers = [exercise for _, exercise in cells]
        self.statements: list[Statement] = []
        self.unreadable: list[tuple[str, str]] = []  # sources of cells, and why they can't be read
        for number, (source, exercise) in enumerate(cells):
            try:
                self.statements += statements(source, number, in_answer=bool(exercise))
            except SyntaxError as error:
                self.unreadable.append((source, f"SyntaxError: {error.msg} (line {error.lineno} of its cell)"))
            except (ValueError, RecursionError, MemoryError) as error:
                self.unreadable.append((source, f"{type(error).__name__}: {error}"))
        library = (inspect.ismodule, inspect.isclass, inspect.isroutine)
        self.library = {name for name, value in setup.items() if any(is_one(value) for is_one in library)}

    def cells_until(self, exercise: str) -> int:
        """How many cells stand above an exercise's test: all of them if it has no answer cell."""
        own = [number for number, answers in enumerate(self.answers, start=1) if answers == exercise]
        return own[-1] if own else len(self.answers)


class Definitions:
    """What a notebook defines for the exercise that has to define the names `own`."""

    def __init__(self, notebook: Notebook, own: set[str], setup: dict[str, Any]):
        """setup: the names of the set-up cell, on which the student's are built. Replaces this process's `__main__`."""
        self.notebook, self.own = notebook, own
        main = types.ModuleType("__main__")  # where dataclasses and `typing.get_type_hints` look for names
        self.names = vars(main)
        self.names.update(setup)
        sys.modules["__main__"] = main
        self._needed = needed(own, notebook.statements, notebook.library)
        self._failed: list[tuple[Statement, str]] = []
        self._features = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def run(self, first: int, end: int) -> None:
        """Run what is needed of the cells `first` to `end - 1`, and all imports, functions, classes and plain values.

        An error in one statement does not stop the next.
        """
        for index, statement in enumerate(self.notebook.statements):
            if not (first <= statement.cell < end and statement.may_run):
                continue
            if index in self._needed or statement.is_definition:
                try:
                    self._execute(statement)
                except BaseException as error:
                    if index in self._needed:
                        self._failed.append((statement, f"{type(error).__name__}: {error}"))

    def more_after(self, end: int) -> bool:
        """Whether cells from `end` on set something that the exercise rests on, so that running them may matter."""
        later = [s for i, s in enumerate(self.notebook.statements) if i in self._needed and s.cell >= end]
        return any(s.may_run and not isinstance(s.node, (ast.Import, ast.ImportFrom)) for s in later)

    @property
    def missing(self) -> list[str]:
        return sorted(self.own - self.names.keys())

    def why_missing(self, name: str) -> str:
        """Why a name has no value here, or ""."""
        for source, why in self.notebook.unreadable:
            if re.search(rf"\b{re.escape(name)}\b", source):
                return why
        for statement, why in self._failed:
            if self._touches(statement, name):
                return _stopped(statement, why)
        for statement in self.notebook.statements:
            if self._touches(statement, name) and not statement.may_run:
                return _left_out(statement)
        return ""

    def what_failed(self) -> str:
        """The first statement that the exercise rests on and that stopped with an error, or ""."""
        return _stopped(*self._failed[0]) if self._failed else ""

    def what_was_left_out(self) -> str:
        """The first statement that the exercise rests on and that may not run where it stands, or ""."""
        of_need = (s for i, s in enumerate(self.notebook.statements) if i in self._needed)
        return next((_left_out(s) for s in of_need if s.sets and not s.may_run), "")

    def _touches(self, statement: Statement, name: str) -> bool:
        return name in touches(statement, self.notebook.statements, self.notebook.library)

    def _execute(self, statement: Statement) -> None:
        node, file = statement.node, f"<cell {statement.cell}>"
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:  # for the rest of the notebook, as in IPython
                self._features |= getattr(__future__, alias.name).compiler_flag
        source = self.notebook.sources[statement.cell]
        linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file  # for `inspect.getsource`
        code = compile(ast.Module([node], []), file, "exec", self._features, dont_inherit=True)
        run: Callable[..., Any] = eval  # the value of code that awaits is a coroutine
        result = run(code, self.names)
        if inspect.iscoroutine(result):
            asyncio.run(result)


def _stopped(statement: Statement, why: str) -> str:
    if "get_ipython" in why:
        return f"`{statement.in_short}` is a command of IPython (% or !), and those do not run in grading"
    return f"`{statement.in_short}` stopped with {why}"


def _left_out(statement: Statement) -> str:
    return (
        f"`{statement.in_short}` stands outside the answer cells, where lines that call something do not run in "
        "grading: move it into the answer cell"
    )
