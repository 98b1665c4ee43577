"""Loops that survive a kill."""
