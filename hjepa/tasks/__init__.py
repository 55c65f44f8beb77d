"""What a task is: its world's physics in numpy, its data and its metrics."""
