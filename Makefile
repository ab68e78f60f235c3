VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
# In their own order: by the number of their tests, the longest files would come last.
ALL_CORES := --numprocesses=auto --dist=loadfile --no-loadscope-reorder
# Reading all test files takes a quarter of a minute.
RAY_FILES = $$(grep -rl "mark\.ray" tests --include="test_*.py")
SLOW := $(PYTEST) --override-ini=faulthandler_timeout=1800
# Tests start many processes: those that come later read the modules that the first ones compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-ray test-rest test-slow check docs clean

demo: $(READY)  ## train VGG-11 across a device and a server, uncompressed and with deprune, and report
	$(BIN)/python jobs/demo.py

# The tests that start Ray and the others side by side: Ray leaves a core idle for a third of the time. Its processes
# have deadlines, so that the others stand back.
test: $(READY)  ## the test suite
	$(MAKE) --jobs=2 --output-sync=target test-ray test-rest

test-ray: $(READY)
	$(PYTEST) -m "ray and not slow" $(RAY_FILES)

test-rest: $(READY)
	nice -n 19 $(PYTEST) -m "not ray and not slow" $(ALL_CORES)

test-slow: $(READY)  ## what repeats: property tests with all their examples, fault runs, notebooks at full length
	$(SLOW) -m "ray and slow" $(RAY_FILES)
	$(SLOW) -m "(slow or hypothesis) and not ray" --hypothesis-profile=slow $(ALL_CORES)

check: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## guides and API reference into build/docs; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(READY): pyproject.toml
	test -d $(VENV) || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
