# make demo    the main job on drawn faces            make quick   the unit tests, in a minute
# make test    all tests; make test PYTHON=python3.13: on that version
# make lint    ruff and mypy                          make check   lint and all tests, as CI runs them
# make docs    write the generated pages again        make lock    pin the newest versions again
PYTHON ?= python3
VENV := .venv$(patsubst python3%,%,$(notdir $(PYTHON)))
BIN := $(VENV)/bin
SHELL := /bin/bash
# By a name: a recipe that says $(MAKE) itself is run by make -n too.
TWO_FITS = $(MAKE) --no-print-directory -j2 -f "$(CURDIR)/Makefile" demo-dicefer demo-resnet

.PHONY: demo demo-dicefer demo-resnet test quick check lint lock docs
.DELETE_ON_ERROR:

# In a folder of its own, so that no data of yours is in the way.
demo: $(VENV)/done
	@mkdir -p demo && cd demo && export PATH="$(CURDIR)/$(BIN):$$PATH" && set -ex && \
	fertools draw ck+ && \
	fertools prepare ck+ && \
	fertools make-folds && \
	$(TWO_FITS) && \
	trainer report runs/ckplus-dicefer-demo-fold03-seed0 runs/ckplus-resnet-demo-fold03-seed0

# Side by side, each with as many threads as alone: the same bits, and no core waits for the other run to end.
demo-dicefer:
	trainer fit --fold 3 --preset demo
demo-resnet:
	trainer fit --fold 3 --preset demo --method resnet >resnet.log 2>&1 || { cat resnet.log; exit 1; }
	cat resnet.log

test: $(VENV)/done
	$(BIN)/pytest --quiet --numprocesses 2

quick: $(VENV)/done
	$(BIN)/pytest --quiet --numprocesses 2 tests/unit

lint: $(VENV)/done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

docs: $(VENV)/done
	$(BIN)/python docs/generate.py

# The environment is made once; it is made again when a pinned version or the package list changes. Compiled at once,
# as a first `import torch` costs three times as much otherwise, in each process where Python may not write bytecode.
$(VENV)/done: requirements.lock pyproject.toml
	test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --require-hashes \
		-r <(awk '/^uv==/,!/\\$$/' requirements.lock); }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

lock: $(VENV)/done
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--extra dev --generate-hashes --no-emit-index-url --output-file requirements.lock pyproject.toml
