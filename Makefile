# Every target sets up by itself: a virtual environment in .venv, made again only when pyproject.toml changes.

PYTHON ?= python3
JOBS ?= auto
BIN := .venv/bin
INSTALLED := .venv/installed
OLDEST := .venv-oldest
OLDEST_TORCH := $(shell sed -nE 's/^ *"(torch|torchvision)>=([0-9.]+)",/\1==\2/p' pyproject.toml)

BROWSER := $(shell for name in chromium chromium-browser google-chrome; do command -v $$name && break; done)

.PHONY: demo smoke test test-browser test-oldest faults check audit docs install clean

demo: $(INSTALLED)  ## train and evaluate FAST-BAT beside FAST-AT and an undefended net, on embedded images
	$(BIN)/python examples/demo.py

smoke: $(INSTALLED)  ## every suite by name, small: whether it runs; resumes where it was stopped
	$(BIN)/python examples/smoke.py

test: $(INSTALLED)  ## the whole test suite, one process a core (JOBS=2: in two)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --ignore tests/test_browser.py

test-browser: $(INSTALLED)  ## reports in a real browser, Chromium; installs it where there is none (Debian's as root)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,browser]"
	test -n "$(BROWSER)" || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium fonts-liberation; } \
	  || $(BIN)/playwright install chromium
	BROWSER_TESTS=required $(BIN)/python -m pytest tests/test_browser.py

test-oldest: $(OLDEST)/installed  ## the same with the oldest torch and torchvision that pyproject.toml allows
	$(OLDEST)/bin/python -m pytest -n $(JOBS) --dist worksteal --ignore tests/test_browser.py

faults: $(INSTALLED)  ## kill trainings, evaluations and suites at fifty random moments each, damage files, fill a disk
	FAULTS=50 $(BIN)/python -m pytest tests/faults -s

check: $(INSTALLED)  ## format, lint, types, import layers, the style of the pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/test_style.py

audit: $(INSTALLED)  ## secrets in what is tracked, and known faults of what is installed, which needs the package index
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,audit]"
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString
	$(BIN)/pip-audit --skip-editable --progress-spinner off

docs: $(INSTALLED)  ## the site, into site/html; a broken link or an unknown name fails
	$(BIN)/python docs/site/build.py

install: $(INSTALLED)  ## the set-up alone

$(INSTALLED) $(OLDEST)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastbat needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" $(PINS)
	@touch $@

$(OLDEST)/installed: PINS = $(OLDEST_TORCH)

clean:  ## remove the virtual environments, the site and what the tools cached
	rm -rf .venv $(OLDEST) site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
