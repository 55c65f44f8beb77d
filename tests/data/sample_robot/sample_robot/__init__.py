"""A two-joint arm and a task for it, outside of hjepa."""
