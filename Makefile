# Everything a contributor or CI runs. `make` or `make help` lists the targets.

PYTHON ?= python3
CC ?= gcc
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
FUZZ_SECONDS ?= 60
BENCH_ARGS ?=
CORE_TESTS ?= tests/core
THREAD_TESTS ?= tests/core/test_threads.py
PYTEST_ARGS ?=
IMAGE ?=
DEMO_ARGS ?=

export ACCEL_JOBS := $(JOBS)

VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest $(PYTEST_ARGS)
KERNELS := $(wildcard src/accel_core/*.pyx src/accel_core/*.pxd)
MODULES := $(shell find src -name '*.py' -o -name '*.pyi' -o -name 'py.typed')

# One machine plays several: what kernels may use of its CPU (see ACCEL_CPU in accel_core/cpu.pyx). Tests that try every
# implementation by themselves are not repeated.
CPU_baseline := none
CPU_bmi2 := bmi2
CPU_pclmul := pclmul,sse4.1
CPU_avx2 := bmi2,avx2,pclmul,sse4.1
CPUS ?= baseline bmi2 pclmul avx2
CPU_TESTS ?= $(addprefix tests/core/test_,crc32.py layer_scan.py parallel_scan.py threads.py)

# The separate builds: the mode's switch for setup.py, and what its tests run under.
SWITCH_checked := ACCEL_CHECKED=1
SWITCH_sanitize := ACCEL_SANITIZE=1
SWITCH_tsan := ACCEL_TSAN=1
MODE_TESTS = ACCEL_TEST_BUILD=build/$(1)/lib PYTHONPATH=build/$(1)/lib
# Reports go to the terminal (--capture=sys): a process that a sanitizer ends loses what pytest captured.
# A small quarantine: tests that feed single bytes free gigabytes in small pieces, and recycling that memory later
# costs more page faults than all else (one test: 90 s with the default of 256 MB).
SANITIZED = LD_PRELOAD="$$(readlink -f "$$($(CC) -print-file-name=libasan.so)")" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:allocator_may_return_null=1:quarantine_size_mb=4:thread_local_quarantine_size_kb=64:$$ASAN_OPTIONS \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:$$UBSAN_OPTIONS
# Without randomised addresses: they may fall where ThreadSanitizer keeps its shadow.
TSANITIZED = LD_PRELOAD="$$(readlink -f "$$($(CC) -print-file-name=libtsan.so)")" PYTHONMALLOC=malloc \
	TSAN_OPTIONS=halt_on_error=1:history_size=3:$$TSAN_OPTIONS setarch -R

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv build test test-checked test-cpus sanitize tsan fuzz bench demo interop lint docs demo-service sdist wheel clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- building ---------------------------------------------------------------------------------------------

venv: $(VENV)/.ready

# The package's own build needs Cython, so it comes first; --no-build-isolation then compiles the kernels once, here.
$(VENV)/.ready: pyproject.toml tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check 'setuptools>=77' wheel 'cython>=3.1'
	$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation -e '.[dev]'
	@touch $@

build: build/release/.built  ## make .venv and compile the kernels in place (quick when nothing changed)

# Cython does not notice changed directives or flags: a changed setup.py starts that build afresh.
build/release/.built: setup.py $(KERNELS) $(VENV)/.ready
	$(if $(and $(wildcard $@),$(filter setup.py,$?)),rm -rf build/release src/accel_core/*.so)
	$(PY) setup.py -q build_ext --inplace
	@mkdir -p $(@D) && touch $@

build/%/lib/.built: setup.py $(KERNELS) $(MODULES) $(VENV)/.ready
	$(if $(and $(wildcard $@),$(filter setup.py,$?)),rm -rf build/$*)
	$(SWITCH_$*) $(PY) setup.py -q build --build-lib build/$*/lib
	@touch $@

# --- checking ---------------------------------------------------------------------------------------------

test: build  ## run the tests on the release build
	$(PYTEST)

test-checked: build/checked/lib/.built  ## run the kernel tests with bounds checks and assertions on
	$(call MODE_TESTS,checked) $(PYTEST) $(CORE_TESTS)

test-cpus: $(CPUS:%=test-cpu-%)  ## run the kernel tests as several kinds of CPU (CPUS=baseline bmi2 pclmul avx2)

test-cpu-%: build
	ACCEL_CPU=$(CPU_$*) $(if $(filter baseline,$*),OPENSSL_ia32cap=0:0) $(PYTEST) -p no:cacheprovider $(CPU_TESTS)

sanitize: build/sanitize/lib/.built  ## run the kernel tests under AddressSanitizer and UBSan
	$(call MODE_TESTS,sanitize) $(SANITIZED) $(PYTEST) -p no:cacheprovider --capture=sys $(CORE_TESTS)

tsan: build/tsan/lib/.built  ## run the tests of the parallel scan under ThreadSanitizer
	$(call MODE_TESTS,tsan) $(TSANITIZED) $(PYTEST) -p no:cacheprovider --capture=sys $(THREAD_TESTS)

fuzz: build  ## fuzz the kernels for FUZZ_SECONDS (60)
	$(PY) tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

interop: build  ## check our artifacts with the real runtimes and their packages (needs Go, root, containerd, podman)
	ACCEL_REQUIRE_INTEROP=1 $(PYTEST) -m interop

lint: build  ## ruff, mypy, stubtest, cython-lint
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/lint

bench: build  ## run the benchmarks (BENCH_ARGS=…)
	$(PY) bench/run.py $(BENCH_ARGS)

# --- showing ----------------------------------------------------------------------------------------------

demo: build  ## convert a real image (IMAGE=reference, or one made here) and read it back through its index
	$(PY) demo/run.py $(IMAGE)

demo-service: build  ## push an image to a registry and watch its accelerated tag appear (needs docker-registry, skopeo)
	$(PY) demo/service.py $(DEMO_ARGS)

docs: build  ## regenerate docs/cli-reference.md from the command line itself
	$(PY) tools/cli_reference.py docs/cli-reference.md

# --- shipping ---------------------------------------------------------------------------------------------

sdist: $(VENV)/.ready  ## source distribution in dist/
	rm -f dist/*.tar.gz
	$(PY) -m build --sdist

wheel: sdist  ## wheel in dist/, built from the source distribution and nothing else
	rm -f dist/*.whl
	$(PY) -m pip wheel -q --disable-pip-version-check --no-deps -w dist dist/accel-*.tar.gz

clean:  ## remove everything built, keep .venv
	rm -rf build dist src/*.egg-info src/accel_core/*.so src/accel_core/*.c
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools demo bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## clean, and remove .venv and the demo's image
	rm -rf $(VENV) demo/work
