# Every command of the project. `make help` lists them; CI runs the same ones.
#
# PYTHON selects the interpreter: each version gets its own environment (.venv-3.13) and its own build folder, so that
# switching between them rebuilds nothing. BUILD_TAG sets further builds apart, those of another system for example.

PYTHON ?= python3
CARGO ?= $(or $(shell command -v cargo 2>/dev/null),$(HOME)/.cargo/bin/cargo)
# For what calls cargo itself: maturin, the scripts, the benchmarks.
export PATH := $(PATH):$(dir $(CARGO))

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + getattr(sys, "abiflags", ""))')
SUFFIX := $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
ifeq ($(VERSION),)
$(error PYTHON=$(PYTHON) does not run)
endif

VENV := .venv-$(VERSION)$(BUILD_TAG)
BIN := $(VENV)/bin
MODULE := python/tulipa/_tulipa$(SUFFIX)
BUILT := $(VENV)/.built
PYTHON_TARGET := $(CURDIR)/target/python-$(VERSION)$(BUILD_TAG)
LINT_TARGET := $(CURDIR)/target/lint$(BUILD_TAG)

RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
PYTHON_FOLDERS := python tests benchmarks examples
VERSIONS := 3.11 3.12 3.13 3.14 3.15
RESULTS := target/conformance

# $(call with_python,VERSION,TARGETS): make TARGETS under that Python, wherever it is to be found.
with_python = scripts/with-python $(1) sh -c 'exec $(MAKE) $(2) PYTHON="$$PYTHON" BUILD_TAG="$$BUILD_TAG" PYTHON_VERSION='

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test test-all test-rust test-loom test-python test-apps bench conformance conformance-results lint fmt build clean

help:  ## List the commands
	@sed -nE 's/^([a-z0-9.%-]+):.*  ## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26
	@echo
	@echo '  PYTHON=python3.13 chooses the interpreter of any of them; PYTHON_VERSION=3.14 also finds one for test-python and bench.'

# ---- Programs ----------------------------------------------------------------------------------------------------

run: $(BUILT) $(VENV)/.examples  ## Fetch ten articles in every style of concurrency, on Tulipa
	$(BIN)/tulipa run examples/crawler.py

ifdef PYTHON_VERSION
bench:
	$(call with_python,$(PYTHON_VERSION),bench)
else
bench: $(BUILT) $(VENV)/.bench  ## Compare with the other event loops (ARGS=... are passed on)
	scripts/require redis-server initdb:postgresql || echo 'bench: going without servers' >&2
	$(BIN)/python -m benchmarks $(ARGS)
endif

# ---- Tests -------------------------------------------------------------------------------------------------------

test: test-rust test-loom test-python  ## Run all tests on the Python at hand

test-all: test-rust test-loom $(addprefix test-,$(VERSIONS))  ## Run all tests on all supported Pythons

test-rust:  ## Run the tests of the Rust crates
	PYO3_PYTHON=$(PYTHON) $(CARGO) test --workspace

test-loom:  ## Explore the thread interleavings of the inbox
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom $(CARGO) test --release --package tulipa --test loom_inbox

ifdef PYTHON_VERSION
test-python:
	$(call with_python,$(PYTHON_VERSION),test-python)
else
test-python: $(BUILT) $(VENV)/.test  ## Run the Python tests (ARGS=... are passed on to pytest)
	scripts/require redis-server
	$(BIN)/python -m pytest $(ARGS)
endif

test-apps: $(BUILT) $(VENV)/.test $(VENV)/.apps  ## Run real programs with real servers, which it installs
	scripts/require redis-server initdb:postgresql mariadbd:mariadb-server
	$(BIN)/python -m pytest -o norecursedirs=.* tests/apps $(ARGS)

test-3.%:  ## Run the Python tests on that version, 3.11 to 3.15
	$(call with_python,3.$*,test-python)

conformance: $(BUILT)  ## Run CPython's and uvloop's suites on all Pythons, write docs/conformance.md
	$(foreach version,$(VERSIONS),$(call with_python,$(version),conformance-results RESULTS=$(RESULTS)/$(version)) &&) true
	$(BIN)/python -m tests.stdlib.report $(RESULTS)/*/*.json

# Failures are the report's to show, so a bad verdict does not end the run; a missing result does.
conformance-results: $(BUILT) $(VENV)/.test
	mkdir -p $(RESULTS)
	for suite in 'stdlib --mode loop' 'stdlib --mode inject' 'stdlib --mode global' 'stdlib --mode toolbox' peers; do \
	  result="$(RESULTS)/$${suite##* }.json"; \
	  rm -f "$$result"; \
	  $(BIN)/python -m tests.$$suite --json "$$result" || test -s "$$result" || exit 1; \
	done

# ---- Checks ------------------------------------------------------------------------------------------------------

# The second clippy is for a free-threaded Python, which need not be installed for that: the file says what PyO3 would ask.
lint: export CARGO_TARGET_DIR := $(LINT_TARGET)
lint: $(BUILT) $(VENV)/.test $(VENV)/.lint  ## Check formatting, lints, types, stubs and the engine's independence
	$(CARGO) fmt --all --check
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python $(CARGO) clippy --workspace --all-targets -- -D warnings
	PYO3_CONFIG_FILE=$(CURDIR)/scripts/python3.14t.cfg CARGO_TARGET_DIR=$(LINT_TARGET)-3.14t \
		$(CARGO) clippy --package tulipa-python -- -D warnings
	scripts/check-engine
	if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; else echo 'left out: cargo-deny' >&2; fi
	$(BIN)/ruff check $(PYTHON_FOLDERS)
	$(BIN)/ruff format --check $(PYTHON_FOLDERS)
	$(BIN)/mypy
	$(BIN)/stubtest --allowlist tests/stubtest.txt tulipa

fmt: $(VENV)/.lint  ## Format the sources
	$(CARGO) fmt --all
	$(BIN)/ruff format $(PYTHON_FOLDERS)
	$(BIN)/ruff check --fix $(PYTHON_FOLDERS)

# ---- What the others need ----------------------------------------------------------------------------------------

build: $(BUILT)  ## Build the extension module and the environment

# maturin puts the module beside the package's sources, where the environment finds both: editing Python code needs no
# rebuild. The stamp belongs to the environment and the module to the checkout; when either goes, both are renewed.
$(BUILT): $(RUST_SOURCES) pyproject.toml $(VENV)/.created $(MODULE)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) CARGO_TARGET_DIR=$(PYTHON_TARGET) $(BIN)/maturin develop --release --quiet
	touch $(MODULE) $@

# Nothing to do by itself: a missing module counts as new, which makes the stamp above out of date.
$(MODULE): ;

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'maturin>=1.9,<2'
	touch $@

# The groups of dependencies are those of pyproject.toml.
$(VENV)/.examples $(VENV)/.test $(VENV)/.apps $(VENV)/.lint: $(VENV)/.%: pyproject.toml $(VENV)/.created
	$(BIN)/python -m pip install --quiet --group $*
	touch $@

# One by one, and compiled already: a rival that does not exist for this system is a column less, not a failure.
$(VENV)/.bench: benchmarks/requirements.txt $(VENV)/.created
	sed 's/ *#.*//; /^$$/d' $< | while IFS= read -r needed; do \
	  $(BIN)/python -m pip install --quiet --only-binary :all: "$$needed" || echo "bench: going without $$needed" >&2; \
	done
	touch $@

clean:  ## Remove builds, environments and caches
	rm -rf target .venv-* python/tulipa/_tulipa*.so .hypothesis .mypy_cache .ruff_cache .pytest_cache \
		benchmarks/results crawler.svg
