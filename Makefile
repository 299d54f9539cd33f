# `make demo` shows everything; `make test` checks everything. Both set themselves up in .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# SPU 0.9.5 exists for these two.
PYTHON ?= $(shell for python in python3.11 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null && echo $$python && break; done)
# Of pytest, as many processes as there are cores, and no more than memory for their deployments (2 GB each).
PYTEST_WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 8 ? cores : 8)))
PYTEST := $(BIN)/pytest -n $(PYTEST_WORKERS) --no-loadscope-reorder
FAULTS := tests/faults tests/hostile tests/mpc/test_faults.py tests/mpc/test_link.py tests/conversion/test_resuming.py
# Attacks of docs/attacks.md that are tried among other tests.
OTHER_ATTACKS = $(filter-out $(addsuffix %,$(FAULTS)),$(shell sed -nE 's/^\|.*\| (tests[^ ]*) \|$$/\1/p' docs/attacks.md))
# Where this is set, every process would compile all that it imports anew: half of what most of them do.
unexport PYTHONDONTWRITEBYTECODE
AS_ROOT_WITH_APT = [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null
APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0
APT_UPDATE := apt-get update -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20

.PHONY: help venv venv-dev demo check test test-faults test-containers docs lint audit test-setup lock compose-files dashboards proto clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 17

demo: venv  ## private inference on this machine: sentences, predictions, what every layer cost
	@$(BIN)/freediv demo $(ARGS)

check: venv-dev lint  ## while editing, in two minutes: format, lint, types, and tests of what differs from origin/main
	$(PYTEST) --within 80 -m 'not containers' $$($(BIN)/python tests/touched.py) $(ARGS)

test: venv-dev test-setup lint  ## format, lint, types, and tests through real processes (but for the two below)
	$(PYTEST) -m 'not containers' $(addprefix --ignore=,$(FAULTS)) $(ARGS)

test-faults: venv-dev test-setup  ## what has to be survived: processes that die, and callers with bad intentions
	$(PYTEST) --attacks $(FAULTS) $(OTHER_ATTACKS) $(ARGS)

test-containers: venv-dev test-setup  ## images, deployments in containers, several hosts (where Docker answers)
	$(BIN)/pytest -m containers tests/containers $(ARGS)

docs: venv-dev  ## a site of all pages and docstrings, into build/site; a link that leads nowhere is an error
	$(BIN)/mkdocs build --strict $(ARGS)

audit: venv-dev  ## known vulnerabilities in what is locked, where an advisory service answers; ARGS for one of your own
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/audit $(ARGS)

lint: venv-dev  ## format, lint and types
	$(BIN)/ruff format --check --quiet orchestrator tests || { echo 'run: $(BIN)/ruff format orchestrator tests'; exit 1; }
	$(BIN)/ruff check orchestrator tests
	$(BIN)/mypy

venv: $(VENV)/runtime.stamp  ## .venv with what freediv needs to run, as locked
venv-dev: $(VENV)/dev.stamp  ## the same, and what its tests need

$(VENV)/runtime.stamp: requirements.lock pyproject.toml
	$(call installed,requirements.lock)

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(call installed,requirements-dev.lock)

# Install a lock file ($1), then freediv itself, unless another make did while this one waited for it. A build in
# isolation would fetch an unlocked setuptools, so setuptools is in the lock. Without --no-compile pip compiles
# twenty thousand files, of which few are ever imported; those are compiled once here, and not by three parties at a time.
define installed
@exec 9<Makefile && flock 9
if [ $@ -nt $1 ] && [ $@ -nt pyproject.toml ]; then exit; fi
test -x $(BIN)/pip || { $(new-venv); }
echo "installing the $$(grep -c '^[a-z].*==' $1) packages of $1 into $(VENV) (minutes the first time) ..."
$(BIN)/pip install --no-compile --require-hashes --requirement $1 | $(pip-progress)
$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
$(BIN)/python -c 'import freediv.mpc.worker.child, freediv.party.server'
touch $@
endef

define pip-progress
awk -v terminal="$$([ -t 2 ] && echo 1 || true)" '
  /^Collecting /  { line = ++n " " $$2 }
  /^Installing /  { line = "unpacking"; n = 0 }
  terminal && line { printf "\r\033[K  %s", line; fflush() }
  END { if (terminal) printf "\r\033[K" }'
endef

define new-venv
[ -n '$(PYTHON)' ] || { echo 'error: needs Python 3.10 or 3.11; on Debian 12: apt-get install python3 python3-venv' >&2; exit 2; }
if ! $(PYTHON) -c 'import ctypes, ensurepip; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; then
  if $(AS_ROOT_WITH_APT); then
    echo 'installing python3-venv and libgomp1 from the system packages ...'; $(APT_UPDATE); $(APT_INSTALL) python3-venv libgomp1 >/dev/null
  else
    echo 'error: needs two system packages: sudo apt-get install python3-venv libgomp1' >&2; exit 2
  fi
fi
$(PYTHON) -m venv --clear $(VENV)
endef

.ONESHELL:

test-setup:  ## programs that some tests need (Debian, as root; elsewhere those tests are skipped)
	@command -v chromium chromium-browser google-chrome >/dev/null && command -v haproxy >/dev/null && command -v promtool >/dev/null && command -v debootstrap >/dev/null && exit
	if $(AS_ROOT_WITH_APT); then
	  echo 'installing chromium, haproxy, prometheus and debootstrap from the system packages ...'
	  { $(APT_UPDATE) && $(APT_INSTALL) chromium fonts-dejavu-core haproxy prometheus debootstrap; } >/dev/null 2>&1 || echo 'note: not installed; tests that need them are skipped'
	else
	  echo 'note: tests are skipped where a program is missing; sudo apt-get install chromium haproxy prometheus debootstrap'
	fi

UV := $(or $(shell command -v uv),$(BIN)/uv)
LOCK = sed -nE 's/^requires = \["(.*)"\]/\1/p' pyproject.toml | $(UV) pip compile --quiet --universal --python-version 3.10 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -

lock:  ## both lock files again; ARGS=--upgrade for newer versions
	@[ -x '$(UV)' ] || $(BIN)/pip install --quiet uv
	$(LOCK) $(ARGS) --output-file requirements.lock >/dev/null
	$(LOCK) $(ARGS) --extra dev --constraint requirements.lock --output-file requirements-dev.lock >/dev/null

compose-files: venv-dev  ## compose/party.yaml and the owners', from the description of their containers
	$(BIN)/python -c 'from pathlib import Path; from freediv.deploy.containers.folders import shipped_files
	for name, text in shipped_files().items(): Path("compose", name).write_text(text)'

dashboards: venv-dev  ## Grafana's dashboards, from configs/grafana/make_dashboards.py
	$(BIN)/python configs/grafana/make_dashboards.py

proto: venv-dev  ## the gRPC stubs from wire/protocol.proto
	$(BIN)/python -m grpc_tools.protoc --proto_path=orchestrator --python_out=orchestrator --pyi_out=orchestrator \
		--grpc_python_out=orchestrator freediv/wire/protocol.proto

clean:  ## remove what make made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build
