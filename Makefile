# Two commands on a fresh machine with Python >= 3.11:   make demo   make test
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
JOBS ?= 2

# One thread for each test process: two processes that each use all cores are slower than running them one after the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo docs check test test-slow test-cluster test-cluster-smoke test-all bench clean

help:
	@echo "make demo       install, search and confirm on generated polyps, write a report"
	@echo "make test       install, run the tests"
	@echo "make check      ruff, mypy --strict, floors"
	@echo "make docs       the documentation as a site in site/; links checked"
	@echo "make test-slow  whole studies through the command line"
	@echo "make test-cluster  studies on Ray and Slurm on this machine; skipped without root or namespaces"
	@echo "make test-cluster-smoke  eight of them: both kinds of cluster, killed nodes, secrets"
	@echo "make bench      ratios of two ways to do the same, and a report over 10,000 trials (benchmarks/RESULTS.md)"
	@echo "CONTRIBUTING.md says how long each takes"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python >= 3.11 is needed; name one, for example: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install
	$(BIN)/harness demo --workspace $(DEMO)

# Material's notice of its own end of life would look like a warning of the build.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site: $(abspath site)/index.html"
	@echo "with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy harness
	$(BIN)/python -m pytest -q tests/test_house.py

test: install
	$(PYTEST) -m "not slow"

test-slow: install
	$(PYTEST) -m "slow and not cluster"

# One process: each test starts a cluster of several nodes.
test-cluster: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m cluster tests/execution

test-cluster-smoke: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "cluster and smoke" tests/execution

test-all: check test test-slow test-cluster

bench: install
	$(BIN)/python benchmarks/cache_reading.py
	$(BIN)/python benchmarks/big_report.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python -m benchmarks.bookkeeping
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.trial_overhead
	$(BIN)/python benchmarks/two_workers.py
	$(BIN)/python -m benchmarks.many_trials --workers 8 --seconds 10 --epochs 20 --trials 48
	@echo "to compare samplers and pruners on your own curves: python -m benchmarks.search_replay --curves studies/NAME"

clean:
	rm -rf $(DEMO) site .mypy_cache .ruff_cache .pytest_cache
