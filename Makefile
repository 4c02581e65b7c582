# Two commands on a fresh machine with Python >= 3.11:   make demo   make test
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
JOBS ?= 2

# One thread to each test process: two that want all cores each are slower than one after the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-slow test-all bench clean

help:
	@echo "make demo       install, run 6 trials on generated polyps, write a report (2 minutes after installation)"
	@echo "make test       install, run the tests (7 minutes)"
	@echo "make check      ruff, mypy --strict, floors (1 minute)"
	@echo "make test-slow  whole studies through the command line (10 minutes)"
	@echo "make bench      ratios of two ways to do the same, a report over 10,000 trials (benchmarks/RESULTS.md)"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "needs Python >= 3.11; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install
	@mkdir -p $(DEMO)
	$(BIN)/harness run --workspace $(DEMO) --space quickstart.yaml --data synthetic --trials 6
	$(BIN)/harness report --workspace $(DEMO) --study quickstart
	@echo "the report: $(abspath $(DEMO))/studies/quickstart/report.html"
	@echo "next: $(BIN)/harness run --space encoders.yaml --trials 40"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy harness
	$(BIN)/python -m pytest -q tests/test_house.py

test: install
	$(PYTEST) -m "not slow"

test-slow: install
	$(PYTEST) -m slow

test-all: check test test-slow

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
	@echo "more: benchmarks.search_replay --curves studies/NAME (python -m; samplers and pruners on your own curves)"

clean:
	rm -rf $(DEMO) .mypy_cache .ruff_cache .pytest_cache
