"""Searching a configuration's keys for what plays better, and checking on fresh strokes that it really does."""
