"""Film and plots of played strokes, drawn in software: no display, no simulator, no GPU."""
