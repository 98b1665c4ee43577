"""Canaries: cells that must fail. If one does not, the submission has tampered with how cells are run or
shown.

They run around every test cell, in the student's kernel: a bare `assert`, and one check of each kind that the
set-up cell imports. A missing error, an error with another text, or a result where there can be none is
reported.

What canaries cannot see: a change that spares them, for instance one that looks at a cell's text first. It
gains nothing, because points come from the clean process (`scripts.course.judging.clean`); a test that passes in the
kernel and fails there is reported too. Nor is this a sandbox: a submission runs with the rights of the person
who grades and can read and write that person's files, the solved labs included. Grade submissions of people
you don't know in a container.
"""

import secrets

import nbformat.v4
from nbformat import NotebookNode

from scripts.course.cells import is_test, setup_of, visible_part
from scripts.course.judging.execute import error_of

_MUST_FAIL = {
    "assert": "assert False, '{nonce}'",
    "expect": "expect(False, '{nonce}')",
    "expect_close": "expect_close([0.0, 1.0], [1.0, 1.0], '{nonce}')",
    "check": "check('{nonce}')",
}
# Other errors are accidents: a late interrupt, a full memory, a student's own variable called `expect`.
_OF_A_CANARY = ("AssertionError", "CheckFailed")


class Instrumented:
    """A copy of a notebook to be executed: canaries around the tests, and no hidden tests.

    `notebook` is what to execute; `origin[i]` is the index of its cell i in the original, None for a canary.
    """

    def __init__(self, original: NotebookNode):
        setup = setup_of(original)
        self._nonce = secrets.token_hex(8)
        self._sources = [code for name, code in _MUST_FAIL.items() if name == "assert" or name in setup]
        self.notebook = nbformat.v4.new_notebook()
        self.origin: list[int | None] = []
        for index, cell in enumerate(original.cells):
            copied = nbformat.from_dict(cell)
            if is_test(cell):
                copied.source = visible_part(cell.source)
                self._add_canaries()
                self._add(copied, index)
                self._add_canaries()
            else:
                self._add(copied, index)

    def _add(self, cell: NotebookNode, origin: int | None) -> None:
        self.notebook.cells.append(cell)
        self.origin.append(origin)

    def _add_canaries(self) -> None:
        for source in self._sources:
            self._add(nbformat.v4.new_code_cell(source.format(nonce=self._nonce)), None)

    def findings(self, incidents: dict[int, str]) -> list[str]:
        """What the executed canaries and tests say, in words; empty if nothing is wrong.

        incidents: what `execute` returned; cells that were stopped say nothing, nor do cells not reached.
        """
        found = set()
        for place, (cell, origin) in enumerate(zip(self.notebook.cells, self.origin)):
            canary = origin is None
            if place in incidents or cell.get("execution_count") is None or not (canary or is_test(cell)):
                continue
            if any(output.output_type == "execute_result" for output in cell.outputs):
                found.add("a test cell showed a result that it does not compute")
            error = error_of(cell)
            kind = cell.source.partition("(")[0].partition(" ")[0]
            if canary and error is None:
                found.add(f"a failing `{kind}` went unnoticed")
            elif canary and self._nonce not in error.evalue and error.ename in _OF_A_CANARY:
                found.add(f"a failing `{kind}` showed another text")
        return sorted(found)
