# Two commands matter: `make run` and `make test`. `make help` lists all.

MODEL ?= storybook
PYTHON ?= python3
TORCH_INDEX ?=
TIMES ?= 20
THREADS ?= 1

ifeq ($(OS),Windows_NT)
    BIN := .venv/Scripts
else
    BIN := .venv/bin
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

NOTEBOOKS = $(wildcard notebooks/[0-9]*.ipynb)

.PHONY: run test lab notebooks student course site address claims transfer bench flips repeat seeds mutants lock clean help
.DEFAULT_GOAL := help

run: .venv/ready  ## Execute every notebook into build/ and render it to HTML (MODEL=name or folder; UNTRAINED=1; SENTENCES=file)
	$(BIN)/python tools/run.py --model "$(MODEL)" $(if $(UNTRAINED),--untrained) $(if $(SENTENCES),--sentences "$(SENTENCES)") $(NOTEBOOKS)

test: .venv/ready  ## Check everything: ruff, unit tests, doctests, and nbval on every notebook
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest

lab: .venv/ready  ## Open JupyterLab on student/01_baseline.ipynb
	$(BIN)/jupyter lab --notebook-dir=. student/01_baseline.ipynb

notebooks: .venv/ready  ## Execute every notebook again in place, store its outputs, and renew student/
	$(BIN)/python tools/regenerate.py $(NOTEBOOKS)
	$(BIN)/python tools/editions.py $(NOTEBOOKS)

student: .venv/ready  ## Write student/: the notebooks with blank exercises
	$(BIN)/python tools/editions.py $(NOTEBOOKS)

course: .venv/ready  ## Make a folder that nbgrader takes as a course (COURSE=folder)
	$(BIN)/python tools/course.py "$(COURSE)" $(NOTEBOOKS)

site: .venv/ready  ## Build the course as a static site in build/site
	$(BIN)/python tools/build_site.py

address: .venv/ready  ## Make every link lead to another repository (URL=https://github.com/me/mine)
	$(BIN)/python tools/address.py $(URL)

claims: .venv/ready  ## Write CLAIMS.md: every claim on storybook and on its untrained twin
	$(BIN)/python tools/claims.py $(NOTEBOOKS)

transfer: .venv/ready  ## Run every notebook on another model, and give it a column in CLAIMS.md (MODEL=name or folder; NAME=)
	$(BIN)/python tools/claims.py --model "$(MODEL)" $(if $(NAME),--name "$(NAME)") $(NOTEBOOKS)

bench: .venv/ready  ## Run every benchmark and write BENCHMARKS.md, a quarter of an hour on a quiet machine
	$(BIN)/python benchmarks/bench.py

flips: .venv/ready  ## Change a digit in 200 stored outputs of a copy: does nbval notice each?
	$(BIN)/python tools/flips.py $(NOTEBOOKS)

repeat: .venv/ready  ## Execute every notebook TIMES (20) times: are the outputs the stored ones? (THREADS=2 for another order)
	$(BIN)/python tools/repeat.py --times $(TIMES) --threads $(THREADS) $(NOTEBOOKS)

seeds: .venv/ready  ## Test the exercise checkers on TIMES (20) other draws of their random inputs
	for seed in $$(seq $(TIMES)); do echo "SEED=$$seed"; SEED=$$seed $(BIN)/python -m pytest tests/test_checks*.py || exit 1; done

mutants: .venv/ready  ## Change each operator and number of interp_helpers: does a test fail? Two hours; goes on where it was (MODULES=)
	$(PIP) install --quiet cosmic-ray==8.7.0
	$(BIN)/python tools/mutants.py $(MODULES)

lock: .venv/ready  ## Renew requirements.lock, environment.yml and binder/ from the ranges in pyproject.toml
	$(PIP) install --quiet uv
	$(BIN)/python tools/lock.py

clean:  ## Remove build/ (the environment stays; to remove it, too: rm -rf .venv)
	rm -rf build

help:  ## List the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch .venv/ready
