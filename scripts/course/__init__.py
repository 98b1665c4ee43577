"""How the labs are released, checked, graded and exported."""
