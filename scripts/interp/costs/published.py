"""What the guide that the course grew from says about memory, beside what is so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scripts.interp.costs.work import GPT2

Row = dict[str, Any]
SOURCE = (
    "the module on mechanistic interpretability of "
    "[dgx-spark-ai-curriculum](https://github.com/Trosfy/dgx-spark-ai-curriculum/blob/"
    "c40164407d010dc1614cec5e8927d42032c20660/optional-modules/module-C-mechanistic-interpretability/LAB_PREP.md), its "
    '"Expected Memory Usage" as of January 2026'
)
LOADED, ONE, TEN, TWO, TRAINING = 1.5, 0.5, 5.0, 1.5, (4.0, 8.0)  # GB, published, for GPT-2 small
ELSEWHERE = 1.0  # GB: what its page on troubleshooting says of the same cache of one prompt


def beside_published(found: Row) -> str:
    """The published table with what was measured at GPT-2 small's size, and by how much it is off."""
    title = "## Beside what was published"
    rows = [row for row in found["rows"] if row["model"] == GPT2 and row["dtype"] == "float32"]
    trained = [row for row in found["rows"] if row["work"] == "step of an SAE as in the published lab"]
    if not rows or not trained:
        return f"{title}\n\nNothing of GPT-2 small's size has been measured yet."
    first = rows[0]["machine"]

    def one(work: str, n: int = 1) -> Row:
        return next(
            row for row in rows if row["machine"] == first and row["work"] == work and row.get("prompts", 1) == n
        )

    loaded, cache, ten = one("load the model"), one("run, cache everything"), one("run, cache everything", 10)
    two, sae = one("patch with two full caches"), next(row for row in trained if row["machine"] == first)
    longer = [row for row in rows if row["work"] == "run, cache everything" and row["tokens"] > cache["tokens"]]
    lines = [
        ["load GPT-2 small", LOADED, loaded["stays_mb"], "what the process holds more than before"],
        ["full cache of one prompt", ONE, cache["tensors_mb"], f"distinct tensors, {cache['tokens']} tokens"],
        ["full cache of ten prompts", TEN, ten["tensors_mb"], f"distinct tensors, ten of {ten['tokens']} tokens"],
        ["patching with two caches", TWO, two["tensors_mb"], "both caches"],
        ["training an SAE", TRAINING, sae["grew_mb"], f"what the process grew by, {sae['d_in']} × {sae['latents']:,}, "
                                                      f"{sae['batch']} tokens a step, as in its lab"],
    ]  # fmt: skip
    said = (
        f"Its page on troubleshooting gives {ELSEWHERE:g} GB for the cache of one prompt, twice its own table. Even if "
        f"every one of the {cache['names']:,} names were a tensor of its own, it would be {mb(cache['named_mb'])}."
    )
    said += (
        f" Patching, with the model counted in, takes {mb(loaded['stays_mb'] + two['tensors_mb'])}. While the model "
        f"loads, the process grows by {mb(loaded['grew_mb'])} for a moment."
    )
    if longer:
        row = longer[0]
        said += (
            f" A prompt of {row['tokens']} tokens, far longer than any of the labs, takes {mb(row['tensors_mb'])}: "
            "most activations grow with the length, attention patterns with its square."
        )
    return "\n\n".join([
        title,
        f"From {SOURCE}. What stands beside it is a model of the same size.",
        table(["what", "published", "here", "of what", "published is so many times too much"],
              [[what, _gb(gb), mb(here), of, _times(gb, here)] for what, gb, here, of in lines]),
        said,
        "The published numbers name neither a length nor a size. Count with `cache_megabytes` and `memory_report`, as "
        "Lab 1 does.",
    ])  # fmt: skip


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def mb(megabytes: float | None) -> str:
    """Megabytes to read; from ten thousand on, gigabytes."""
    if megabytes is None:
        return "–"
    if megabytes >= 10_000:
        return f"{megabytes / 1000:,.0f} GB"
    return f"{megabytes:,.0f} MB" if megabytes >= 100 else f"{megabytes:.1f} MB"


def plural(n: int, word: str) -> str:
    return f"{n} {word}" + "s" * (n != 1)


def _gb(gigabytes: float | tuple[float, float]) -> str:
    if isinstance(gigabytes, tuple):
        return f"{gigabytes[0]:g} to {gigabytes[1]:g} GB"
    return f"{gigabytes:g} GB"


def _times(gigabytes: float | tuple[float, float], megabytes: float) -> str:
    ends = gigabytes if isinstance(gigabytes, tuple) else (gigabytes,)
    return " to ".join(f"{1000 * end / megabytes:.{0 if 1000 * end >= 10 * megabytes else 1}f}" for end in ends)
