"""Right and wrong answers to every exercise of every lab."""


def source_of(exercise, answer) -> str:
    """The cell that an answer to an exercise (`scripts.course.cells.Exercise`) stands for."""
    if isinstance(answer, str):
        return answer
    old, new = answer
    assert exercise.solution.count(old) == 1, f"{old!r} must occur once in the solution of {exercise.id}"
    return exercise.solution.replace(old, new)
