"""Playing strokes and measuring them."""
