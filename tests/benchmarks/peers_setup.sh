#!/bin/sh
# A virtual environment with stable-worldmodel beside hjepa's own needs: for benchmarks only, hjepa never asks for it.
#
#   tests/benchmarks/peers_setup.sh FOLDER      then: PYTHONPATH=. FOLDER/bin/python tests/benchmarks/bench_deadlines.py
#
# torch comes first and alone (a CPU build will do) and is held at the version that hjepa is measured with; the second
# line is stable-worldmodel and what its import needs beyond what it declares.
set -eu
folder=$(realpath -m "${1:?"usage: $0 FOLDER"}")
python3.11 -m venv "$folder"
pip="$folder/bin/pip install --quiet"
held=$(mktemp)
echo "torch==2.13.0" > "$held"
$pip torch==2.13.0
$pip -c "$held" stable-worldmodel==0.1.1 imageio opencv-python-headless pygame pymunk shapely minigrid ogbench \
    gymnasium-robotics
$pip -c "$held" numpy pyyaml pyzmq msgspec pydantic typer 'rich<15' safetensors pybullet gymnasium
rm "$held"
cd "$(dirname "$0")/../.."
PYTHONPATH=. "$folder/bin/python" -W ignore -c "from hjepa.benches import peers; print('ready:', peers.solvers().__name__)"
