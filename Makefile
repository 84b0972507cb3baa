# One command each. `make demo` and `make test` set everything up on a machine with only Python 3.11+, gcc and make.

PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One more than CI has cores: a sixth of the time, tests wait for processes, leases and windows.
WORKERS ?= 3
# One test at a time for each worker: in chunks, one of them gets the long tests and the other waits for it.
PYTEST := -m pytest -n $(WORKERS) --maxschedchunk 1
SEEDS ?= 10000
TARGET ?= file
SECONDS ?= 60
RUNS ?= -1
BLIND ?=
MODULES ?=
MINUTES ?= 600
SOURCES := src $(sort $(dir $(wildcard examples/*.py benchmarks/*.py fuzz/*.py)))
TEST_FOLDERS := $(wildcard tests/*.py) $(sort $(dir $(wildcard tests/*/*.py)))

.DEFAULT_GOAL := help
.PHONY: help install demo test nightly mutants coverage lint format bench fuzz diagrams docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is newer than both files exactly when the environment holds what they ask for.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[dev]" -c constraints.txt
	@touch $@

install: $(STAMP)  ## Create .venv and install the package with all that a contributor needs

demo: $(STAMP)  ## Crawl 1,000 simulated bookmarks through faults into demo.db
	$(BIN)/twitor demo

# Compiled first: the tests start hundreds of processes, and where PYTHONDONTWRITEBYTECODE is set each would compile it again.
test: $(STAMP)  ## Run the whole suite (WORKERS=0 runs it in one process, ARGS= goes to pytest)
	@$(BIN)/python -m compileall -q src
	$(BIN)/python $(PYTEST) $(ARGS)

nightly: $(STAMP)  ## Simulate 10,000 seeds (SEEDS= for another number) and prove the real numbers
	$(BIN)/python $(PYTEST) tests/property/test_simulation.py --seeds $(SEEDS)
	$(BIN)/twitor verify --full

mutants: $(STAMP)  ## Change the core one operator at a time; name the changes that no test notices (MODULES=, MINUTES=, WORKERS=)
	WORKERS=$(WORKERS) $(BIN)/python tests/mutants.py $(MODULES) $(MINUTES)

# Without the tests whose processes are killed, since one that is killed writes no measurement, and with a tenth of the seeds.
UNMEASURED := tests/acceptance/test_kill_loop.py tests/acceptance/test_crash_points.py
coverage: $(STAMP)  ## Run the suite under coverage and compare with the bars (not part of `make test`: it takes longer)
	$(BIN)/coverage erase
	$(BIN)/coverage run $(PYTEST) $(UNMEASURED:%=--ignore=%) --seeds 50 $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet -o .coverage-report.json
	$(BIN)/python tests/coverage_bars.py .coverage-report.json

lint: $(STAMP)  ## Ruff (rules and format) and mypy --strict, of the blocks in docs/ too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	@for folder in $(TEST_FOLDERS); do echo "mypy $$folder"; $(BIN)/mypy $$folder || exit 1; done
	$(BIN)/python tests/typed_docs.py

format: $(STAMP)  ## Apply the formatter and the safe fixes of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Run every benchmark
	@for file in $(sort $(wildcard benchmarks/[a-z]*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

fuzz: $(STAMP)  ## Fuzz a reader of bytes from outside, or all: TARGET=all SECONDS=60 (or RUNS=1000000 SECONDS=0; BLIND=1: without coverage)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet "atheris>=3,<4"
	BLIND=$(BLIND) $(BIN)/python fuzz/run.py $(TARGET) -max_total_time=$(SECONDS) -runs=$(RUNS)

diagrams: $(STAMP)  ## Draw diagrams/ from the table again
	$(BIN)/python diagrams/draw.py

docs: $(STAMP)  ## Run every snippet of the documentation and compare its tables with the code
	$(BIN)/python $(PYTEST) tests -k "docs or document or snippet or configuration"

clean:  ## Remove what was built, not .venv
	rm -rf build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
