"""Badminton: court, flight, strokes, feeds, and a physics oracle as the upper bound."""
