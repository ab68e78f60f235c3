VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-ray test-rest check clean

demo: $(READY)  ## train VGG-11 across a device and a server, uncompressed and with deprune, and report
	$(BIN)/python jobs/demo.py

# The tests that start Ray and the others side by side: each kind leaves a core idle for much of its time. Ray's
# processes have deadlines, so that the others stand back.
test: $(READY)  ## the whole test suite
	$(MAKE) --jobs=2 --output-sync=target test-ray test-rest

test-ray: $(READY)
	$(BIN)/python -m pytest -m ray

test-rest: $(READY)
	nice $(BIN)/python -m pytest -m "not ray"

check: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml
	test -d $(VENV) || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
