"""Simulated robots: URDF generator and PyBullet court."""
