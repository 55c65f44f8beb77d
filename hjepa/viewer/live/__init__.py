"""The live viewer: what a bus or a recording says, as a page in the browser (viser)."""
