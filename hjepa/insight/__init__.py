"""What the levels know and decide, as arrays to be drawn: assembly, so models, worlds and recordings are read here."""
