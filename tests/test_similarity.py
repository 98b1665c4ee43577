"""Functions that are the same syntax tree are found whatever is renamed, and short or obvious ones are no hint."""

import csv

from scripts.course import similarity
from scripts.course.similarity import Similar, functions, similar, similar_csv

ONE = '''
def scores(patterns, n: int = 2) -> list[float]:
    """Mean attention of every head."""
    found: list[float] = []
    for head in range(patterns.shape[1]):
        rows = patterns[:, head].diagonal(-n, dim1=-2, dim2=-1)  # one diagonal
        found.append(float(rows.mean()) if rows.numel() else 0.0)
    return [each / max(1e-9, sum(found)) for each in found]
'''
# other names, comments, quotes, line breaks, no docstring and no annotations, a magic above, and a helper beside it
SAME = """%%time
def helper_of_mine():
    return 1

def scores(p, k=2):
    result = []
    # every head
    for i in range(
        p.shape[1]
    ):
        d = (p[:, i].diagonal(-k, dim1=-2, dim2=-1))
        result.append(float(d.mean()) if d.numel() else 0.)
    return [x / max(1e-9, sum(result)) for x in result]
"""
OTHER = ONE.replace("-n", "n")
SOLUTION = ONE.replace("-n", "1 - n")


def found(known=(), **answers: str) -> list[list[str]]:
    by_student = {student: {"ex1": source} for student, source in answers.items()}
    return [each.students for each in similar("01-lab", by_student, {"ex1": [SOLUTION, *known]})]


def test_the_same_tree_under_other_names_is_a_hint():
    assert found(anna=ONE, ben=SAME, cleo=OTHER, dan="") == [["anna", "ben"]]


def test_what_means_something_else_is_another_tree():
    trees = {tree for _, tree, _ in functions(ONE)}
    for old, new in (("-n", "n"), ("dim1", "dim2"), ("mean", "sum"), ("max(", "min("), ("range(p", "range(found, p")):
        assert not trees & {tree for _, tree, _ in functions(ONE.replace(old, new))}, new
    imports = [list(functions(f"def f():\n    from torch import {name}\n    return {name}")) for name in ("nn", "fft")]
    assert imports[0] != imports[1]
    swapped = ONE.replace("for each in found", "for each in patterns")  # which of its own names it is counts
    assert not trees & {tree for _, tree, _ in functions(swapped)}


def test_the_solution_and_what_was_handed_out_are_no_hints():
    assert found(anna=SOLUTION, ben=SOLUTION.replace("rows", "r")) == []
    assert found(known=[SAME], anna=ONE, ben=ONE) == []


def test_what_more_than_a_quarter_of_the_class_wrote_is_no_hint():
    many = {f"student{i}": ONE for i in range(3)}
    others = {f"other{i}": "" for i in range(9)}
    assert len(found(**many, **others)) == 1  # 3 of 12
    del others["other0"]
    assert found(**many, **others) == []
    assert found(anna=ONE, ben=ONE) == [["anna", "ben"]]  # two are a pair in the smallest class


def test_short_functions_are_no_hints():
    short = "def means(x):\n    return x.sum(-1) / x.shape[-1]"
    assert found(anna=short, ben=short) == []
    ((_, _, size),) = functions(ONE)
    assert size >= similarity.SMALLEST


def test_what_is_no_python_is_passed_over():
    for source in ("def f(:", "\0", "x" + "+x" * 20_000, "(" * 5000):
        assert list(functions(source)) == [] and found(anna=source, ben=source) == []


def test_the_table_has_a_row_for_each_function_and_no_formulas():
    header, row = csv.reader(similar_csv([Similar("01-lab", "ex1", "f", 90, ["=anna", "ben"])]).splitlines())
    assert header == ["lab", "exercise", "function", "nodes", "students"]
    assert row == ["01-lab", "ex1", "f", "90", "'=anna | ben"]
