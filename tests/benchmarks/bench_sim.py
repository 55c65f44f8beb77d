"""Real-time factor of the simulated court, lockstep, without planning, one process: `hjepa bench sim`.

python tests/benchmarks/bench_sim.py [--strokes 100] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from hjepa.cli import bench_loop

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strokes", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bench_loop.sim(strokes=options.strokes, quick=False, robot=None, json=options.json)
