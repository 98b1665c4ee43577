"""Write docs/api.md: every name that labs import, with its signature and docstring, by room.

    .venv/bin/python -m scripts.course.api_page        (`make release` does it too)

It reads the source and imports nothing of it, so it takes no seconds, and a test can compare the page each time.
"""

import argparse
import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import ROOT

PAGE = "docs/api.md"
WIDTH = 100  # columns of a signature
TOP = """# What labs can import

Every name of `scripts/mech_interp_utils.py`, in the rooms of `scripts/interp/`:

```text
from scripts.mech_interp_utils import load_model, get_top_predictions
```

Shapes stand in the annotations: `Float[Tensor, 'batch pos']` is a tensor of floats with two axes. `help(load_model)` in
a notebook shows the same text. What the field's words mean is in the labs.

<!-- instructors only -->
Generated from the docstrings by `make release`; a test fails when the two have drifted apart.

<!-- end of instructors only -->
"""


def api_page(root: Path = ROOT) -> str:
    """The text of the page. Raises ValueError for a name without a docstring."""
    parts, room = [TOP], ""
    for file, names in modules(root).items():
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        if file.parent.name != room:
            room = file.parent.name
            what_for = ast.get_docstring(ast.parse((root / file.parent / "__init__.py").read_text(encoding="utf-8")))
            parts.append(f"\n## {room}\n\n{what_for or ''}".rstrip() + "\n")
        parts.append(f"\n### {room}/{file.name}\n\n{prose(ast.get_docstring(tree) or '')}\n")
        found = {name: node for node in tree.body for name in defined(node)}
        returned: dict[str, ast.ClassDef] = {}
        for name, called in names.items():
            parts.append(entry(name, called, found[name], root / file))
            for word in re.findall(r"\w+", ast.unparse(getattr(found[name], "returns", None) or ast.Constant(0))):
                if isinstance(found.get(word), ast.ClassDef) and word not in names:
                    returned[word] = found[word]
        parts += [entry(name, name, node, root / file) for name, node in returned.items()]
    return "".join(parts)


def modules(root: Path) -> dict[Path, dict[str, str]]:
    """The files that labs' names come from, in order, each with its names and what labs call them."""
    found: dict[Path, dict[str, str]] = {}
    for node in ast.parse((root / "scripts" / "mech_interp_utils.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            file = Path(*node.module.split(".")).with_suffix(".py")
            found.setdefault(file, {}).update({alias.name: alias.asname or alias.name for alias in node.names})
    return found


def defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def entry(name: str, called: str, node: ast.stmt, file: Path) -> str:
    """What the page says of one name: a heading, the signature, the docstring."""
    lines = file.read_text(encoding="utf-8").splitlines()
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        written = "\n".join(lines[node.lineno - 1 : node.end_lineno])  # with its comment
        if len(written) > 2 * WIDTH:
            written = textwrap.shorten(written, 2 * WIDTH, placeholder=" …")
        return f"\n#### {called}\n\n{block(written)}"
    docstring = ast.get_docstring(node)
    if not docstring:
        raise ValueError(f"{name} in {file.name} has no docstring: labs import it, so say what it does.")
    if isinstance(node, ast.FunctionDef):
        return f"\n#### {called}\n\n{block(signature(node, called))}\n{described(docstring, arguments(node))}"
    fields = [
        part for part in node.body[1:] if isinstance(part, (ast.AnnAssign, ast.Expr))
    ]  # with what is said of them
    shown = textwrap.dedent("\n".join("\n".join(lines[part.lineno - 1 : part.end_lineno]) for part in fields))
    start = next((part for part in node.body if getattr(part, "name", "") == "__init__"), None)
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")]
    text = f"\n#### {called}\n\n" + (block(shown) if shown else "")
    text += block(signature(start, called)) if start else ""
    text += "\n" + described(docstring, arguments(start) if start else [])
    for method in methods:
        about = ast.get_docstring(method) or ""
        is_value = any(ast.unparse(mark).endswith("property") for mark in method.decorator_list)
        text += f"\n`{called}.{method.name}`" + ("" if is_value else "()") + f": {prose(about)}\n"
    return text


def arguments(node: ast.FunctionDef) -> list[str]:
    given = node.args
    return [argument.arg for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs]]


def signature(node: ast.FunctionDef, called: str) -> str:
    """`name(arguments) -> result`, an argument a line where it is long; without `self`."""
    arrow = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    given = [" = ".join(split(one, "=")) if ":" in one else one for one in split(ast.unparse(node.args), ",")]
    given = [one for one in given if one != "self"]
    one_line = f"{called}({', '.join(given)}){arrow}"
    if len(one_line) <= WIDTH:
        return one_line
    return f"{called}(\n" + "".join(f"    {one},\n" for one in given) + f"){arrow}"


def split(code: str, mark: str) -> list[str]:
    """Code, cut at the marks that stand in no brackets."""
    depth, parts = 0, [""]
    for letter in code:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def described(docstring: str, names: list[str]) -> str:
    """A docstring as Markdown: paragraphs, and a list with an item for each argument, the result and each error."""
    one = rf"(?:\b(?:{'|'.join(names) or '-'})\b(?:, )?)+:"
    later = re.compile(rf"(?<=[;.]) (?={one} )|(?<=\.) (?=(?:Returns|Raises) )")  # on the line of another one
    parts: list[str] = []
    for paragraph in docstring.split("\n\n"):
        heading, _, rest = paragraph.partition("\n")
        if heading in ("Args:", "Raises:"):
            paragraph = re.sub("^(?=\\S)", "Raises " * (heading == "Raises:"), textwrap.dedent(rest), flags=re.M)
        for number, line in enumerate(paragraph.splitlines()):
            if re.match(one, line) or line.startswith(("Returns ", "Raises ")):
                parts.append("- " + line)
            elif number == 0:
                parts.append(line)
            else:
                parts[-1] += " " + line.strip()
    text, before = "", "- "
    for part in parts:
        is_item = part.startswith("- ")
        text += "" if is_item and before.startswith("- ") or not text else "\n"
        for item in later.split(part[2:]) if is_item else [part]:
            text += (
                "- " + re.sub(f"^({one})", r"**\1**", safe(item.removesuffix(";"))) if is_item else safe(item)
            ) + "\n"
        before = part
    return text


def prose(docstring: str) -> str:
    """A docstring's paragraphs, one line each; indented lines, which are commands, stay as they are."""
    paragraphs = docstring.split("\n\n")
    return safe("\n\n".join(block(textwrap.dedent(p)).rstrip() if p.startswith("    ") else " ".join(p.split())
                            for p in paragraphs))  # fmt: skip


def safe(text: str) -> str:
    """Text in which Markdown finds only what is meant: no HTML, no formulas."""
    return re.sub(r"(`[^`]*`)|([<$])", lambda found: found[1] or "\\" + found[2], text)


if __name__ == "__main__":
    argparse.ArgumentParser(description=f"Write {PAGE} from the docstrings.").parse_args()
    write_atomically(ROOT / PAGE, api_page())
    print(f"wrote {PAGE}")
