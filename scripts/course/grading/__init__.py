"""Running a student's notebook and judging it."""
