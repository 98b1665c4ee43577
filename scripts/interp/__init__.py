"""What the labs compute, one concept a file."""
