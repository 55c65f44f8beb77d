"""Robots: what they are (descriptions), how they are driven (sim, real), what guards them."""
