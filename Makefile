# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the rest.
#
# Runs on the GNU make 3.81 that macOS has, in folders of any name: every path here is relative, and nothing is a target
# whose name could be split at a space. A Python is looked for by scripts/find-python.sh; `make PYTHON=...` names one.
BIN := .venv/bin
SETUP := PYTHON="$(PYTHON)" sh scripts/setup.sh

# Rewritten tests and edgelm's own modules are compiled once a run, not once in every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: help setup demo test test-fast check fix lint types imports bench docs clean system

help:
	@echo "make demo    set up, convert SmolLM2-135M-Instruct and ask it a question"
	@echo "make test    set up with the test extras and run the whole suite"
	@echo "make test-fast  units and contracts alone, in about a minute"
	@echo "make check   what CI runs: ruff, mypy, import contract, tests"
	@echo "make fix     format and fix what ruff can"
	@echo "make docs    pictures of every screen of the app, from the real app with the real model"
	@echo "make bench   measurements beside mlx-lm (minutes)"

# What pip cannot install: OpenBLAS (14 times faster prefill on a CPU) and a C++ compiler (mx.compile).
system:
	@sh scripts/system-packages.sh

setup: system
	@$(SETUP) dev

demo: system
	@$(SETUP) user
	@test -d .demo/models/smollm2-135m-instruct-4bit || EDGELM_HOME=.demo $(BIN)/edgelm convert smollm2
	@echo
	@echo '$$ edgelm chat -p "Why is the sky blue?"'
	@EDGELM_HOME=.demo $(BIN)/edgelm chat smollm2-135m-instruct-4bit -p "Why is the sky blue?" --max-tokens 120

test: setup
	$(PYTEST) --durations=25

test-fast: setup
	$(PYTEST) -m "not (slow or real or parity or peer or fault or install or metal)"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Twice: what a Mac alone imports is checked as well.
types: setup
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin

imports: setup
	$(BIN)/lint-imports

check: lint types imports test

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python tests/benchmarks/convert.py
	$(BIN)/python tests/benchmarks/generate.py
	$(BIN)/python tests/benchmarks/tui.py

docs: setup
	$(BIN)/python scripts/pictures.py docs/images

clean:
	rm -rf .venv .demo
