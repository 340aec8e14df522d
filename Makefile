# make demo: install into .venv, run the shipped network on the RTL, compare, draw pictures
# make check: lint, types, and the tests that compile nothing; two minutes on two cores
# make test: that, and all other tests that are not slow; ten minutes
# make test-slow: the tests that take minutes; 45 minutes
# make fuzz SEEDS=100-200: random networks on random configurations, others than the tests'
PYTHON ?= python3
VENV ?= .venv
# The exact version comes first: a range would pull PyTorch's newest build with CUDA. Where the
# package index has CUDA builds only:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
JOBS ?= 2
SEEDS ?= 100-109

# Folders that install as packages below tritforge; mypy sees them where they install.
PARTS := common hw model_export sim fpga
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -n $(JOBS)

.PHONY: demo check test test-slow fuzz lint clean

demo: $(VENV)/.installed
	$(BIN)/tritforge demo -o demo-out

check: lint
	$(PYTEST) -m "not compiles and not long and not slow"

test: check
	$(PYTEST) -m "(compiles or long) and not slow"

test-slow: $(VENV)/.installed-test
	$(PYTEST) -m slow

fuzz: $(VENV)/.installed-test
	$(PYTEST) tests/sim/test_random_networks.py --seeds $(SEEDS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types/tritforge
	find build/types/tritforge -type l -delete
	ln -sfn $(foreach part,$(wildcard tritforge/*) $(PARTS),../../../$(part)) build/types/tritforge/
	$(BIN)/mypy

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) -e ".[demo,estimate]"
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed pyproject.toml
	$(PIP) -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build demo-out
