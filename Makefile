# Every target does its own set-up. make help lists them.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?=            # a Python 3.11; found by itself when empty
TORCH_INDEX ?=       # an extra package index with a CPU build of torch
EXTRAS ?= learn,sim,mujoco,view,servo,log,metrics,export,deploy,cluster,tune,docs,dev
CONFIG ?= badminton
N ?= 20
EPISODES ?= 100
OUT ?= runs/demo
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_ARGS := $(if $(strip $(TORCH_INDEX)),--extra-index-url $(strip $(TORCH_INDEX)))
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo eval collect train test bench pictures screenshots docs clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo '  variables: PYTHON TORCH_INDEX CONFIG N EPISODES OUT ARGS, as in: make eval EPISODES=300 ARGS="--agent oracle"'

setup: $(STAMP)  ## virtual environment with everything, in $(VENV); instant when it is there

# torch comes first, alone and exactly pinned, so that pip never replaces a CPU build by a later or a larger one.
$(STAMP): pyproject.toml setup.py constraints.txt
	@python=$$(PYTHON="$(strip $(PYTHON))" .ci/python311) || exit 1; \
	  test -x $(BIN)/python || { echo "hjepa: virtual environment $(VENV) with $$python"; "$$python" -m venv $(VENV); }
	@$(BIN)/python .ci/download_note.py $(TORCH_ARGS) torch==2.13.0
	$(BIN)/python -m pip install $(TORCH_ARGS) torch==2.13.0
	$(BIN)/python -m pip install --quiet $(TORCH_ARGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP)  ## the robot returns N=20 real strokes; film, numbers and pictures in OUT=runs/demo
	$(BIN)/hjepa demo $(CONFIG) --strokes $(N) --out $(OUT) $(ARGS)

eval: $(STAMP)  ## return rate, landing error, plan times with intervals over EPISODES=100 strokes
	$(BIN)/hjepa eval $(CONFIG) --episodes $(EPISODES) $(ARGS)

collect: $(STAMP)  ## swings for training, in parallel processes, resumable
	$(BIN)/hjepa collect $(CONFIG) $(ARGS)

train: $(STAMP)  ## both levels, from the collected swings and the real strokes
	$(BIN)/hjepa train high $(CONFIG) $(ARGS)
	$(BIN)/hjepa train low $(CONFIG) $(ARGS)

test: $(STAMP)  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2 $(ARGS)

bench: $(STAMP)  ## every script in tests/benchmarks: prints tables, writes JSON to runs/bench
	@mkdir -p runs/bench
	@for script in tests/benchmarks/bench_*.py; do \
	  echo "== $$script"; $(BIN)/python $$script --json runs/bench/$$(basename $$script .py).json || exit 1; \
	done

pictures: $(STAMP)  ## the pictures of docs/pictures.md, drawn anew from the shipped weights
	$(BIN)/hjepa plot all $(CONFIG) --format png --out runs/plots $(ARGS)
	$(BIN)/python docs/pictures/small.py runs/plots/*.png docs/pictures

docs: $(STAMP)  ## the documentation as a site in site/; open site/index.html (searching wants a server: python3 -m http.server -d site)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir site $(ARGS)

screenshots: $(STAMP)  ## pictures of the viewer in docs/, with Debian's chromium
	$(BIN)/python docs/screenshots.py

clean:  ## remove caches and build folders (not .venv, data or runs)
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
