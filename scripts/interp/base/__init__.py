"""What everything needs: where things lie, how files are written, numbers and their uncertainty."""
