# Every target sets up what it needs in .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

ROOM ?= losses
SAMPLE ?= 100
# Benchmarks that every change has to leave working.
BENCH_ONCE := evals export graph konfig kontext lm_training loop nan_guard precision tracing trackers

.PHONY: demo chat test test-slow test-gpu faults mutants bench bench-quick bench-once bench-record bench-table lint types smoke format layers docs docs-serve pictures stubs clean

demo: $(VENV)/.installed-demo
	$(BIN)/python -m examples.demo

chat: $(VENV)/.installed-lm
	$(BIN)/python -m kauldron.cli.main lm chat --model=smollm2

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

test-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m gpu

faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults --kills=200

mutants: $(VENV)/.installed-dev $(VENV)/.installed-mutants
	$(BIN)/python -m tests.mutants $(ROOM) --sample $(SAMPLE)

bench: $(VENV)/.installed-dev
	KAULDRON_TEST_DEVICES=1 $(BIN)/python -m pytest -m bench -s tests/benchmarks/bench_*.py

bench-table: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks.figures build/benchmarks.json

bench-quick: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks.quick

bench-once: $(VENV)/.installed-dev
	BENCH_ROUNDS=1 KAULDRON_TEST_DEVICES=1 $(BIN)/python -m pytest -n 2 -m bench $(BENCH_ONCE:%=tests/benchmarks/bench_%.py)

bench-record: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks.quick --record

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=. $(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

smoke: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m smoke tests/smoke

stubs: $(VENV)/.installed-dev
	$(BIN)/python -m tests.write_stubs

layers: $(VENV)/.installed-dev
	$(BIN)/python -m tests.draw_layers

docs: $(VENV)/.installed-docs
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "The documentation is in build/site/index.html."

docs-serve: $(VENV)/.installed-docs
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --quiet

pictures: $(VENV)/.installed-dev
	PYTHONPATH=. $(BIN)/python docs/_site/pictures.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Kauldron needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
