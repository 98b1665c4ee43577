"""A hidden test that fails says the lab's hint or the kind of the error, whatever a student's function does with it."""

import ast
import re

import pytest

from scripts.course.cells import Exercise, read_exercises
from scripts.course.judging import clean
from scripts.interp.base.paths import ROOT
from tests.fixtures import tiny_lab

SETUP = tiny_lab.SETUP.replace("expect_close", "expect_close, expect_equal, expect_error, expect_kind, expect_no_error")
TEST = """\
expect(answer(f, 1) == 2, "Add one.")
### BEGIN HIDDEN TESTS
HIDDEN
### END HIDDEN TESTS
"""
# answers right where it is called with 1; SECRET is any text made from the test itself
ANSWER = """\
def secret():
    import sys
    frame = sys._getframe()
    while "source" not in frame.f_locals:
        frame = frame.f_back
    return "LEAK" + frame.f_locals["source"][::-1]
def f(x):
    if x == 1:
        return 2
    WHEN HIDDEN
"""
WHERE = "a test that you can't see"
CASES = {  # what the function does in the hidden test, that test, and what is said
    "an error's text": ("raise ValueError(secret())", "answer(f, 2)", "The answer stopped with ValueError in " + WHERE),
    "an error's name": (
        "raise type(secret(), (KeyError,), {})",
        "answer(f, 2)",
        "The answer stopped with KeyError in " + WHERE,
    ),
    "an error outside of answer": ("raise ValueError(secret())", "f(2)", "The answer stopped with ValueError"),
    "a check that fails itself": (
        "from scripts.course.checks import CheckFailed; raise CheckFailed(secret())",
        "answer(f, 2)",
        "The answer stopped with AssertionError",
    ),
    "a check that it calls": ("expect(False, secret())", "answer(f, 2)", "The answer stopped with AssertionError"),
    "a class that looks like a check": (
        "raise type('CheckFailed', (Exception,), {})(secret())",
        "answer(f, 2)",
        "The answer stopped with Exception",
    ),
    "a text that is returned": ("return secret()", "expect_equal(answer(f, 2), 'b', 'It')", "It: expected 'b'."),
    "a list of texts": ("return [secret()]", "expect_equal(answer(f, 2), ['b'], 'It')", "It, entry 0: expected 'b'."),
    "a class's name": (
        "return type(secret(), (), {})()",
        "expect_kind(f(2), 'number', 'A number, not {type}.')",
        "What was returned is of another kind",
    ),
    "a tensor's class": (
        "return torch.zeros(2).as_subclass(type(secret(), (Tensor,), {}))",
        "expect_close(f(2), torch.zeros(2), 'It')",
        "your function should return an ordinary tensor, not a class of your own.",
    ),
    "the function's name": (
        "f.__name__ = secret(); return 2 if x == 2 else None",
        "answer(f, 2); answer(f, 3)",
        "the function returned",
    ),
    "what came instead of an error": (
        "return secret()",
        "expect_error(ValueError, 'Raise it; you gave {got}.', f, 2)",
        "Raise it; you gave something else.",
    ),
    "the error that came": (
        "raise ValueError(secret())",
        "expect_no_error(ValueError, 'It stops: {got}.', f, 2)",
        "It stops: ValueError.",
    ),
    "a shape": (
        "return torch.zeros([0] + [ord(c) for c in secret()[:8]])",
        "expect_close(answer(f, 2), torch.zeros(2), 'It')",
        "What was returned is of another kind",
    ),
    "a long number": (
        "return int.from_bytes(secret().encode()[:30])",
        "expect_kind(answer(f, 2) + 1, 'text', f'No text: {answer(f, 2)}.')",
        "No text: ….",
    ),
    "what a function that it returns says": (
        "return lambda: (_ for _ in ()).throw(ValueError(secret()))",
        "answer(answer(f, 2))",
        "The answer stopped with ValueError",
    ),
}
KEPT = {  # hints of the lab's own
    "a mistake's hint": ("return 0.0", "expect_close(answer(f, 2), 3, 'It', {'Not 0.': 0})", "Not 0."),
    "a number's difference": ("return 5", "expect_close(answer(f, 2), 3, 'It')", "It differs from the expected values"),
    "a shape's difference": ("return torch.zeros(3)", "expect_close(answer(f, 2), torch.zeros(2), 'It')", "shape [3],"),
    "nothing": ("return None", "answer(f, 2)", "f returned None: is the `return` missing?"),
    "the kind": ("return 2.0", "expect_kind(answer(f, 2), 'int', 'An int, not {type}.')", "An int, not float."),
    "a condition": ("return 5", "expect(answer(f, 2) == 3, 'Three.')", "Three."),
    "text for a number": (
        "return 'a'",
        "expect_close(answer(f, 2), 3, 'It')",
        "It should be a tensor or a number, not str.",
    ),
}


@pytest.fixture(scope="module")
def hints() -> dict[str, str]:
    """What the clean process says of each case: a lab's exercises, whose functions are f0, f1, …"""
    exercises, cells = [], []
    for number, (name, (does, test, _)) in enumerate({**CASES, **KEPT}.items()):
        answer, test = ANSWER.replace("WHEN HIDDEN", does), TEST.replace("HIDDEN\n##", f"{test}\n##")
        answer, test = (re.sub(r"\bf\b(?!')", f"f{number}", source) for source in (answer, test))
        cells.append((answer, name))
        exercises.append(Exercise(name, name, 1, "", test))
    found = clean.run(SETUP, cells, exercises, seconds=15)
    assert [name for name, verdict in found.items() if verdict.passed or not verdict.visible or verdict.tampered] == []
    return {name: verdict.hint for name, verdict in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_no_text_that_student_code_made_is_said(hints, name):
    said = hints[name]
    assert "LEAK" not in said and "STSET NEDDIH" not in said and len(said) < 120, said
    assert CASES[name][2] in said


@pytest.mark.parametrize("name", KEPT)
def test_the_hints_of_the_lab_stay(hints, name):
    number = len(CASES) + list(KEPT).index(name)
    assert KEPT[name][2].replace("f returned", f"f{number} returned") in hints[name]


def results_in_hints(test: str) -> list[str]:
    """The parts of a test's f-strings that show what an answer gave, but for numbers with a format and dtypes."""
    tree = ast.parse(test)
    asking = {"answer"}  # `answer`, and the test's own functions that call it
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        if asking & _names(function):
            asking.add(function.name)
    given = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Assign, ast.For))
        and asking & _names(node.value if hasattr(node, "value") else node.iter)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in _names(target)
    }
    return [
        ast.unparse(part)
        for part in ast.walk(tree)
        if isinstance(part, ast.FormattedValue)
        and (given | asking) & _names(part.value)
        and not re.search(r"[.]\d[fg]", ast.unparse(part.format_spec) if part.format_spec else "")
        and not (isinstance(part.value, ast.Attribute) and part.value.attr == "dtype")
    ]


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.ipynb")), ids=lambda path: path.name[:2])
def test_no_test_of_a_lab_puts_what_an_answer_gave_into_its_hint(path):
    for exercise in read_exercises(path):
        assert results_in_hints(exercise.test) == [], exercise.id


def test_a_result_in_a_hint_is_seen():
    for test in (
        "got = answer(f, 2)\nexpect(got == 3, f'No, {got!r}.')",
        "def asked(x):\n    return answer(f, x)\na, b = asked(2)\nexpect(b, f'{b}')",
        "expect(False, f'{answer(f, 2):>9}')",
        "for each in answer(f, 2):\n    expect(each, f'{str(each)}')",
    ):
        assert results_in_hints(test), test
    assert not results_in_hints("got, x = answer(f, 2), 1\nexpect(got, f'{got:.2f} {got.dtype}')")
