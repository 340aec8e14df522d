# make demo: install into .venv, run the shipped network on the RTL, compare, draw pictures
# make test: lint, types, tests;  make test-slow: the tests that take minutes
PYTHON ?= python3
VENV ?= .venv
# The exact version comes first: a range would pull PyTorch's newest build with CUDA. Where the
# package index has CUDA builds only:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
JOBS ?= 2

# Folders that install as packages below tritforge; mypy sees them where they install.
PARTS := common hw model_export sim fpga
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow lint clean

demo: $(VENV)/.installed
	$(BIN)/tritforge demo -o demo-out

test: lint
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) -m slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types/tritforge
	ln -sfn $(foreach part,$(wildcard tritforge/*) $(PARTS),../../../$(part)) build/types/tritforge/
	$(BIN)/mypy

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed pyproject.toml
	$(PIP) -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build demo-out
