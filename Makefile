# Everything that a developer or a first-time user types. Needs make and Python; `make` lists the targets.

PORT ?= 8000
HOST ?= 127.0.0.1
JOBS ?= 2
VENV ?= .venv
# The Python that makes the environment; when empty, the first one found that will do.
PYTHON ?=
# The folder of the environments of the servers that Trunkline is compared with; made unless another one is named.
PEERS ?= benchmarks/.envs
# How long `make slow` runs what can be of any length: full, with the results recorded, or short.
LENGTH ?= full

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
URL := http://$(subst 0.0.0.0,127.0.0.1,$(HOST)):$(PORT)
PICTURE := examples/pictures/shoe.jpg
TITLE := Men White and Blue Sports Shoes

# Each peer has an environment of its own, since what they need does not go together.
ifeq ($(PEERS),benchmarks/.envs)
PEERS_INSTALLED := $(patsubst %,$(PEERS)/%/.installed,plain litserve mosec bentoml rayserve)
endif

# A stamp is newer than the lock that its environment was made from; none counts in an environment that is not usable.
SERVE := $(VENV)/.serve-installed
DEVELOP := $(VENV)/.develop-installed
ifneq ($(shell sh deploy/environment.sh --check $(VENV) && echo usable),usable)
.PHONY: $(SERVE) $(DEVELOP)
endif

.DEFAULT_GOAL := help
.PHONY: help run test browser faults slow lint format types check lock bench clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'

run: $(SERVE) ## Serve the shipped bundle (PORT=8000 HOST=127.0.0.1)
	@printf '\n%s\n\n  %s\n\n' 'When the service is ready, paste this into another terminal:' \
		'curl -F image=@$(PICTURE) -F "text=$(TITLE)" $(URL)/predict'
	@exec $(BIN)/trunkline serve --host $(HOST) --port $(PORT)

test: $(DEVELOP) ## Run the tests (JOBS=2 processes, ARGS= for pytest)
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

browser: $(DEVELOP) ## Test the page in headless Chromium, which must be installed
	@$(BIN)/python -m pytest -m browser $(ARGS)

faults: $(DEVELOP) ## Hurt a running service in every way that docs/reliability.md promises it bears, in minutes
	@$(BIN)/python -m pytest -m "not browser" $(wildcard tests/faults tests/hostile) $(ARGS)

slow: $(DEVELOP) ## Run the tests that take long, results go to docs/reliability.md (LENGTH=short: minutes, not kept)
	@$(BIN)/python -m pytest -m slow $(if $(filter full,$(LENGTH)),--full-length --record) $(ARGS)

lint: $(DEVELOP) ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(DEVELOP) ## Rewrite files in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(DEVELOP) ## Check types
	@$(BIN)/mypy

check: lint types test ## lint, types and test

lock: $(DEVELOP) ## Write the lock files anew from pyproject.toml
	@$(BIN)/python deploy/lock.py

bench: $(DEVELOP) $(PEERS_INSTALLED) ## Compare with other servers, half an hour (ARGS=--quick; --record to keep it)
	@$(BIN)/python -m benchmarks.bench --peers $(PEERS) $(ARGS)

clean: ## Remove the environment, caches and builds; data and bundles stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find app model tests benchmarks clients deploy examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(SERVE): requirements.lock pyproject.toml
	@sh deploy/environment.sh $(VENV) $(PYTHON)
	@echo 'Installing what serving needs into $(VENV); this takes minutes, once ...'
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

# The larger lock holds every pin of the smaller one, so an environment to develop in serves as well.
$(DEVELOP): requirements-dev.lock pyproject.toml
	@sh deploy/environment.sh $(VENV) $(PYTHON)
	@echo 'Installing what the tests need into $(VENV); this takes minutes, once ...'
	@$(PIP) -r requirements-dev.lock
	@$(PIP) --no-deps --editable .
	@touch $@ $(SERVE)

benchmarks/.envs/%/.installed: benchmarks/peers/requirements/%.txt benchmarks/peers/requirements/shared.txt | $(DEVELOP)
	@echo 'Installing $* into $(@D); this takes minutes, once ...'
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
