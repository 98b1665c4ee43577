"""The clean process on what honest students write around their functions: what runs there, and what is said if not."""

import ast

import pytest

from scripts.course.cells import Exercise
from scripts.course.judging import clean
from scripts.course.judging.statements import needed, statements
from tests.fixtures import tiny_lab

MEAN = "def row_means(x):\n    return x.sum(-1) * V_one"
SLOW = "import time\ntime.sleep(60)"

# Cells of one exercise; the answer cell is the one that defines the function. `V_` makes names a case's own.
ALL_POINTS = {
    "a try-import": "try:\n    import numpy as V_np\nexcept ImportError:\n    V_np = None\n"
    "def row_means(x):\n    return torch.tensor(V_np.asarray(x).mean(1))",
    "an if that chooses": "if torch.cuda.is_available():\n    V_device = 'cuda'\nelse:\n    V_device = 'cpu'\n"
    "def row_means(x):\n    return x.to(torch.device(V_device)).mean(-1).cpu()",
    "a table filled by a loop": "V_table = {}\nfor V_n in range(1, 20):\n    V_table[V_n] = 1 / V_n\n"
    "def row_means(x):\n    return x.sum(-1) * V_table[x.shape[-1]]",
    "a table filled by calls": "V_table = [0]\nV_table.append(1)\nV_table.extend([1 / n for n in range(2, 20)])\n"
    "def row_means(x):\n    return x.sum(-1) * V_table[x.shape[-1]]",
    "a table filled by a function": "V_table = {}\ndef V_fill(table, upto):\n    for n in range(1, upto):\n"
    "        table[n] = 1 / n\nV_fill(V_table, 20)\ndef row_means(x):\n    return x.sum(-1) * V_table[x.shape[-1]]",
    "a global set by a function": "V_axis = None\ndef V_choose():\n    global V_axis\n    V_axis = -1\nV_choose()\n"
    "def row_means(x):\n    return x.mean(V_axis)",
    "a registry": "V_known = {}\ndef V_register(f):\n    V_known[f.__name__] = f\n    return f\n@V_register\n"
    "def V_mean(x):\n    return x.mean(-1)\ndef row_means(x):\n    return V_known['V_mean'](x)",
    "annotations of the future": "from __future__ import annotations\nclass V_Rows: pass\n"
    "def row_means(x: V_Matrix | None) -> V_Later:\n    return x.mean(-1)",
    "a dataclass of the future": "from __future__ import annotations\nfrom dataclasses import InitVar, dataclass\n"
    "@dataclass\nclass V_Axis:\n    number: int\n    sign: InitVar[int] = 1\n"
    "    def __post_init__(self, sign):\n        self.number *= sign\n"
    "V_last = V_Axis(1, sign=-1)\ndef row_means(x):\n    return x.mean(V_last.number)",
    "type hints that are read": "from typing import get_type_hints\nclass V_A:\n    part: 'V_B'\nclass V_B: axis = -1\n"
    "def row_means(x):\n    return x.mean(get_type_hints(V_A)['part'].axis)",
    "a blank line before %%time": "\n\n%%time\ndef row_means(x):\n    return x.mean(-1)",
    "%%capture around %%time": "%%capture out\n%%time\ndef row_means(x):\n    return x.mean(-1)",
    "a line under %time": "%time V_one = torch.ones(()).item() / 1\ndef row_means(x):\n    return x.mean(-1) * V_one",
    "a with block": "with torch.no_grad():\n    V_one = torch.ones(())\n"
    "    def row_means(x):\n        return x.mean(-1) * V_one",
    "a walrus": "(V_axis := -1)\ndef row_means(x):\n    return x.mean(V_axis)",
    "a walrus in a comprehension": "V_all = [(V_axis := n) for n in (0, -1)]\n"
    "def row_means(x):\n    return x.mean(V_axis)",
    "an augmented assignment": "V_axis = 0\nV_axis -= 1\ndef row_means(x):\n    return x.mean(V_axis)",
    "attributes of the function": "def row_means(x):\n    return x.mean(row_means.axis)\nrow_means.axis = -1",
    "setattr": "def row_means(x):\n    return x.mean(row_means.axis)\nsetattr(row_means, 'axis', -1)",
    "names through globals": "globals()['V_axis'] = -1\ndef row_means(x):\n    return x.mean(V_axis)",
    "an object that is set up": "class V_Mean:\n    def fit(self):\n        self.axis = -1\n"
    "    def __call__(self, x):\n        return x.mean(self.axis)\nrow_means = V_Mean()\nrow_means.fit()",
    "a match": "match len('ab'):\n    case 2:\n        V_axis = -1\n    case _:\n        V_axis = 0\n"
    "def row_means(x):\n    return x.mean(V_axis)",
    "a while loop and a del": "V_axis = 3\nwhile V_axis > -1:\n    V_axis -= 1\nV_extra = 1\ndel V_extra\n"
    "def row_means(x):\n    return x.mean(V_axis)",
    "an awaited value": "import asyncio\nasync def V_later():\n    return -1\nV_axis = await V_later()\n"
    "def row_means(x):\n    return x.mean(V_axis)",
    "source that is looked at": "import inspect\ndef row_means(x):\n    return x.mean(-1)\n"
    "assert 'mean' in inspect.getsource(row_means)\nV_n = len(inspect.getsource(row_means)) - 1\n",
    "a seeded table": "V_g = torch.Generator()\nV_g.manual_seed(0)\nV_one = torch.rand(1, generator=V_g) * 0 + 1\n"
    "def row_means(x):\n    return x.mean(-1) * V_one",
    "quick tries that fail": "V_x = torch.ones(2, 3)\nV_model.train()\n"
    "def row_means(x):\n    return x.mean(-1)\nrow_means(None)\nassert row_means(V_x).shape == (3,)\nraise ValueError",
    "quick tries that take long": "import time\ndef row_means(x):\n    return x.mean(-1)\n"
    "for x in range(3):\n    time.sleep(60)\nx = [time.sleep(60), row_means(torch.ones(2, 3))]\nprint(time.sleep(60))",
    "a try that ends the process": "import os, sys\ndef row_means(x):\n    return x.mean(-1)\n"
    "if row_means(torch.ones(1, 1)) < 2:\n    os._exit(0)\nsys.exit()",
    "a try that prints with a lambda": "row_means = lambda x: x.mean(-1)\n"
    "print(row_means(torch.ones(2, 2)), time.sleep(60))",
    "a try under a name that another cell uses": [
        "def row_means(x):\n    return x.sum(-1) / max(1, x.shape[-1])",
        "max = 3\nV_one = 7",
    ],
    "a constant that a later answer changes": [
        "V_axis = -1\ndef V_mean(x):\n    return x.mean(V_axis)\ndef row_means(x):\n    return V_mean(x)",
        "V_axis = 0\ndef V_mean(x):\n    return x.sum() * V_axis",
    ],
    "the answer stands in a later cell": [
        "def row_means(x):\n    raise NotImplementedError('replace this line')",
        "def row_means(x):\n    return x.mean(-1)",
    ],
    "names that are looked up": "V_axis = -1\nV_one = torch.ones(()).item()\nV_rows = 'x.mean(V_axis) * V_one'\n"
    "def row_means(x):\n    return eval(V_rows)",
    "a name in a text": "from typing import get_type_hints\nV_Matrix = list[list[float]]\n"
    "def row_means(x: 'V_Matrix'):\n    return x.mean(-1) if get_type_hints(row_means) else None",
    "umlauts, decorators, several statements in a line, a long sum": ""
    "import functools; V_größe = -1; V_axis = V_größe\n"
    "@functools.cache  # é\ndef V_get(): return V_axis + V_nothing\nV_nothing = " + "0 + " * 500 + "0\n"
    "def row_means(x): return x.mean(V_get())",
    "a helper in a cell above": [
        "V_axis = -1\ndef V_mean(x): return x.mean(V_axis)",
        "def row_means(x):\n    return V_mean(x)",
    ],
    "a choice in a cell above, without a call": [
        "try:\n    import numpy as V_np\nexcept ImportError:\n    V_np = None\n"
        "if V_np is None:\n    V_axis = 0\nelse:\n    V_axis = -1",
        "def row_means(x):\n    return x.mean(V_axis)",
    ],
}  # fmt: skip
# ... and what the student is told
NO_POINTS = {
    "a value from another cell": (
        ["V_one = torch.ones(()) / 3", MEAN],
        ["'V_one' is not defined", "(`V_one = torch.ones(()) / 3` stands outside the answer cells",
         "move it into the answer cell"],
    ),
    "a table filled in another cell": (
        ["V_table = {}\nfor V_n in range(9):\n    V_table[V_n] = 1 / (V_n + 1)",
         "def row_means(x):\n    return V_table[2] * x.sum(-1)"],
        ["KeyError: 2", "`for V_n in range(9):` stands outside the answer cells"],
    ),
    "a table whose loop stops": (
        "V_table = {}\nfor V_n in V_counts:\n    V_table[V_n] = 1\n"
        "def row_means(x):\n    return x.sum(-1) / V_table[3]",
        ["KeyError: 3", "`for V_n in V_counts:` stopped with NameError: name 'V_counts' is not defined"],
    ),
    "a value that IPython's command gives": (
        "V_one = !echo 1\n" + MEAN, ["'V_one' is not defined", "command of IPython"],
    ),
    "an import that fails": (
        "import no_such_module_of_mine as V_m\ndef row_means(x):\n    return V_m.mean(x)",
        ["'V_m' is not defined", "stopped with ModuleNotFoundError: No module named 'no_such_module_of_mine'"],
    ),
    "a decorator that is not there": (
        "@V_fast\ndef row_means(x):\n    return x.mean(-1)",
        ["`row_means` is not defined", "stopped with NameError: name 'V_fast' is not defined"],
    ),
    "a local variable that has no value": (
        "def row_means(x):\n    total += x\n    return total", ["stopped with UnboundLocalError", "value"],
    ),
    "a name that is nowhere": (MEAN, ["'V_one' is not defined", "what the answer cells define"]),
    "the hint of a wrong answer stays": (
        ["def row_means(x):\n    return x.mean(0)", "def row_means(x):\n    return None"], ["mean of each column"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def judged():
    """Verdicts on all cases, as exercises of one notebook."""
    groups = {**ALL_POINTS, **{name: case for name, (case, _) in NO_POINTS.items()}}
    cells, exercises = [], []
    for number, (name, case) in enumerate(groups.items()):
        sources = [case] if isinstance(case, str) else case
        first = next(i for i, source in enumerate(sources) if "row_means" in source)
        for i, source in enumerate(sources):
            cells.append((mine(source, number), name if i == first else ""))
        exercises.append(Exercise(name, name, 1, mine(tiny_lab.EX1, number), mine(tiny_lab.TEST1, number)))
    return clean.run(tiny_lab.SETUP, cells, exercises, seconds=15)


def mine(source: str, number: int) -> str:
    return source.replace("row_means", f"row_means_{number}").replace("V_", f"V{number}_")


@pytest.mark.parametrize("name", ALL_POINTS)
def test_what_passes_in_the_notebook_passes(judged, name):
    assert judged[name].passed, judged[name]


@pytest.mark.parametrize("name", NO_POINTS)
def test_what_is_missing_is_named_with_its_reason(judged, name):
    said = judged[name]
    number = list({**ALL_POINTS, **NO_POINTS}).index(name)
    assert not said.passed and not said.tampered
    assert all(mine(part, number) in said.hint for part in NO_POINTS[name][1]), said
    assert ("sees only its arguments" in said.hint) == (name == "a name that is nowhere")


@pytest.mark.parametrize(
    "source, kept",
    [
        ("x = 1\nf = 2\ny = f", {1}),
        ("a = 1\nb = a\nf = b\nc = f", {0, 1, 2}),
        ("def f(x):\n    y = x\n    return y + z\nx = 1\ny = 2\nz = 3", {0, 3}),
        ("def f():\n    return T\nT = []\nprint(T)\nT.append(1)\nlen(f())\nU.append(T)", {0, 1, 2, 3, 5}),
        ("import m\ndef f():\n    return m\nm.show(f)\nm.g = 3", {0, 1, 3}),
        ("def f(): return T\ndef g(): T.append(1)\ndef h(): g()\nh()\nf()", {0, 3}),
        ("def f(): return T\ndef g():\n    T = []\n    T.append(1)\ng()", {0}),
    ],
)
def test_what_a_name_rests_on(source, kept):
    found = statements(source, 0, in_answer=True)
    definitions = {i for i, s in enumerate(found) if isinstance(s.node, ast.FunctionDef)}
    assert needed({"f"}, found, set()) - definitions == kept - definitions


def test_what_a_library_replaces_when_a_test_imports_it_is_no_tampering():
    """TransformerLens imports torch._dynamo, which wraps `torch.manual_seed`."""
    setup = "import torch\nfrom scripts.course.checks import answer, expect_close\nimport scripts.mech_interp_utils"
    source = "def double(x):\n    return 2 * x"
    test = "import torch._dynamo\nexpect_close(answer(double, 2.0), 4.0, 'The double')"
    found = clean.run(setup, [(source, "ex1-double")], [Exercise("ex1-double", "", 1.0, source, test)], 60)
    assert found["ex1-double"].passed, found
