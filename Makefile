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
	$(BIN)/python -m pytest

slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache
