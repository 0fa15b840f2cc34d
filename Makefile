# make demo   the main job on drawn faces            make test    the tests
# make check  ruff, mypy, tests                      make lock    pin the newest versions again
# make docs   write docs/manifest.md and docs/cli.md from the code again
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash

.PHONY: demo test check lock docs
.DELETE_ON_ERROR:

demo: .venv/done
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh

test: .venv/done
	$(BIN)/pytest --quiet

check: .venv/done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet

docs: .venv/done
	$(BIN)/python docs/generate.py

# The environment is made once; it is made again when a pinned version or the package list changes.
.venv/done: requirements.lock pyproject.toml
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --require-hashes \
		-r <(awk '/^uv==/,!/\\$$/' requirements.lock); }
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

lock: .venv/done
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --output-file requirements.lock pyproject.toml
