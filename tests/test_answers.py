"""The grader is tested by answers: every wrong one must lose its points with its hint, every right one keep them.

All answers of a lab run in this process: the lab's set-up cell once, then the exercise's own cells.
"""

import importlib
import pkgutil
import re
from types import SimpleNamespace

import nbformat
import pytest
import torch

import tests.answers
from scripts.course.cells import STUB, read_exercises, read_setup
from scripts.course.checks import CheckFailed
from scripts.interp.base.paths import ROOT
from tests.answers import source_of

LABS = [
    importlib.import_module(f"tests.answers.{module.name}") for module in pkgutil.iter_modules(tests.answers.__path__)
]
EXERCISES = {
    lab: {exercise.id: exercise for exercise in read_exercises(ROOT / "solutions" / lab.NOTEBOOK)} for lab in LABS
}
_SETUP = {}


def fresh_namespace(lab) -> dict:
    """What the set-up cell of a lab defines, in a dictionary of its own."""
    if lab not in _SETUP:
        _SETUP[lab] = {"__name__": "__main__"}
        exec(read_setup(ROOT / "solutions" / lab.NOTEBOOK), _SETUP[lab])
    return dict(_SETUP[lab])


def grade(lab, exercise, source: str) -> str:
    """Run an answer and its test cell, hidden tests included. Returns the hint, or "" if it keeps its points."""
    namespace = fresh_namespace(lab)
    exec(source, namespace)
    try:
        exec(exercise.test, namespace)
    except CheckFailed as failed:
        return str(failed)
    return ""


def cases(kind: str):
    for lab in LABS:
        for exercise, answers in getattr(lab, kind).items():
            for name, answer in answers.items():
                yield pytest.param(lab, exercise, answer, id=f"{lab.__name__[-5:]}-{exercise}-{name.replace(' ', '_')}")


@pytest.mark.parametrize("lab, exercise, answer", list(cases("WRONG")))
def test_wrong_answer_loses_its_points_and_gets_its_hint(lab, exercise, answer):
    exercise = EXERCISES[lab][exercise]
    change, hint = answer
    given = grade(lab, exercise, source_of(exercise, change))
    assert given, "a wrong answer kept its points"
    assert hint in given, f"the hint given was: {given}"


@pytest.mark.parametrize("lab, exercise, answer", list(cases("RIGHT")))
def test_right_answer_written_differently_keeps_its_points(lab, exercise, answer):
    exercise = EXERCISES[lab][exercise]
    assert grade(lab, exercise, source_of(exercise, answer)) == ""


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.NOTEBOOK)
def test_solution_keeps_its_points_and_stub_scores_nothing(lab):
    for exercise in EXERCISES[lab].values():
        assert grade(lab, exercise, exercise.solution) == "", exercise.id
        head = exercise.solution.split("### BEGIN SOLUTION")[0]
        assert "not written yet" in grade(lab, exercise, head + STUB), exercise.id


OTHER_TYPES = """

def _in_double(value):
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    return [*map(_in_double, value)] if isinstance(value, list) else value

def _in_numpy(value):
    import numpy as np
    if isinstance(value, torch.Tensor):
        return value.detach().double().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, (bool, int, float)):
        return {bool: np.bool_, int: np.int64, float: np.float32}[type(value)](value)
    return type(value)(map(_in_numpy, value)) if type(value) in (list, tuple) else value

def _returns(function, change):
    def changed(*args, **kwargs):
        result = function(*args, **kwargs)
        if isinstance(result, tuple):
            return tuple(map(change, result))
        return {key: change(each) for key, each in result.items()} if isinstance(result, dict) else change(result)
    changed.__name__ = function.__name__
    return changed
"""

# The words with which an exercise's text asks for a type: there another type may lose the points.
ASKS_FOR_A_TYPE = {
    ("lab02", "ex5-keep-only", "_in_double"): "z's dtype",
    ("lab02", "ex5-keep-only", "_in_numpy"): "z's dtype",
    ("lab04", "ex1-sae", "_in_numpy"): "Gradients flow through both",
    ("lab04", "ex2-sae-loss", "_in_numpy"): "gradients flow through",
    ("lab08", "ex1-insert", "_in_numpy"): "Gradients flow back to `soft`",
    ("lab08", "ex2-adapt", "_in_numpy"): "Gradients flow back to x",
}


@pytest.mark.parametrize("change", ["_in_double", "_in_numpy"])
@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.NOTEBOOK)
def test_other_types_of_number_keep_their_points(lab, change):
    """The rule of `scripts/course/checks.py`: double precision and NumPy are right in every exercise."""
    for exercise in EXERCISES[lab].values():
        words = ASKS_FOR_A_TYPE.get((lab.__name__[-5:], exercise.id, change))
        if words:
            assert words in exercise.solution
            continue
        name = re.search(r"^def (\w+)", exercise.solution, re.M)[1]
        source = f"{exercise.solution}\n{OTHER_TYPES}\n{name} = _returns({name}, {change})"
        assert grade(lab, exercise, source) == "", f"{exercise.id} {change}"


def test_what_lab_4_puts_into_a_model_in_bfloat16_is_of_its_type():
    """The SAE computes in single precision; the model goes on with what a hook returns."""
    lab = next(lab for lab in LABS if lab.__name__.endswith("lab04"))
    namespace = fresh_namespace(lab)
    for exercise in EXERCISES[lab].values():
        exec(exercise.solution, namespace)
    tokens, hook_name = torch.arange(1, 13).reshape(2, 6), "blocks.1.hook_resid_post"
    shares = []
    for dtype in (torch.float32, torch.bfloat16):
        toy = namespace["random_attention_toy"]().to(dtype)
        x = toy.run_with_cache(tokens)[1][hook_name].float()
        kept = torch.arange(6).repeat(2, 1) > 0
        shares.append(namespace["loss_recovered"](toy, tokens, hook_name, x, x + 0.1 * x.flip(-1), kept))
        sae = SimpleNamespace(encode=lambda x: x.float().relu(), W_dec=torch.eye(x.shape[-1]))
        hook = namespace["clamp_hook"](sae, 3, 2.0, 1e9)
        assert toy.run_with_hooks(tokens, fwd_hooks=[(hook_name, hook)]).dtype == dtype
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.NOTEBOOK)
def test_every_exercise_has_enough_answers(lab):
    assert set(lab.WRONG) == set(lab.RIGHT) == set(EXERCISES[lab])
    for exercise in EXERCISES[lab]:
        assert len(lab.WRONG[exercise]) >= 5 and len(lab.RIGHT[exercise]) >= 2


def test_lab_3_decomposes_the_matrices_of_a_model_in_bfloat16(capsys):
    """There are no singular values and no eigenvalues in half precision: the cells compute them in float32."""
    lab = next(lab for lab in LABS if lab.__name__.endswith("lab03"))
    namespace = fresh_namespace(lab)
    exec(EXERCISES[lab]["ex5-k-composition"].solution, namespace)
    two = namespace["load_model"]("toy-attn-2l", dtype="bfloat16")
    shape = (two.cfg.n_layers, two.cfg.n_heads)
    namespace |= {
        "two": two,
        "scores": {two.cfg.model_name: {name: torch.zeros(shape) for name in ("induction", "previous_token")}},
        "induction_head": (1, 2),
        "previous_head": (0, 1),
    }
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "solutions" / lab.NOTEBOOK, as_version=4).cells}
    for name in ("ex5-try", "ex5-table", "ex5-chance", "circuits-measures", "circuits"):
        exec(cells[name], namespace)
    assert "TransformerLens agree: True" in capsys.readouterr().out
