# Every target sets up by itself: a virtual environment in .venv, made anew only when pyproject.toml changes.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test check install clean

demo: $(INSTALLED)  ## train and evaluate FAST-BAT beside FAST-AT and an undefended net, on embedded images
	$(BIN)/python examples/demo.py

test: $(INSTALLED)  ## the whole test suite
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## format, lint, types, import layers, the style of the pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/test_style.py

install: $(INSTALLED)  ## the set-up alone

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastbat needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

clean:  ## remove the virtual environment and what the tools cached
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
