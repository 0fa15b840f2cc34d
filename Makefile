# make demo   the main job on drawn faces            make test    the tests
# make check  ruff, mypy, tests                      make lock    pin the newest versions again
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lock docs
.DELETE_ON_ERROR:

# The environment is made once; it is made again when a pinned version or the package list changes.
.venv/done: requirements.lock pyproject.toml
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --require-hashes \
		-r <(awk '/^uv==/,!/\\$$/' requirements.lock); }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

SHELL := /bin/bash
