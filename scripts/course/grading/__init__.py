"""Grading one student: what counts of what was handed in, who tampers, points given by hand, and what is said."""
