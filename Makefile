# make demo    sets up and runs the digits search on local Spark
# make test    sets up, lints and runs all tests
# make test-places   the same in other places: standalone cluster, other Spark versions, Airflow, MLflow's server
# make lint    formats and types only
# make bench   side by side with peers; bench-asha, bench-curves, bench-data, bench-distributed, bench-gpu, bench-scheduler, bench-search for each of these
# make docs    the site of docs/, strictly, into site/
# make setup   virtual environment, packages, release build, wheel
#
# Needed: Rust, Python 3.11 and Java 17. From outside: VENV, PYTHON, CARGO_TARGET_DIR; PROFILE=ci compiles in less time, for tests.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CARGO ?= cargo

override VENV := $(abspath $(VENV))
BIN := $(VENV)/bin
PACKAGES := $(VENV)/.packages
PROFILE ?= release
WHEEL := $(VENV)/.wheel-$(PROFILE)
HADOOP := $(VENV)/hadoop
DOCS_VENV := $(abspath .venv-docs)

# Every cargo call has the same selection, profile and environment, the wheel's build hook too: nothing
# compiles twice. LIBTORCH is found without importing torch.
LIBTORCH = $(shell $(BIN)/python -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("torch").origin).parent)')
CARGO_ENV = LIBTORCH="$(LIBTORCH)" LIBTORCH_CXX11_ABI=1 LETHE_PROFILE=$(PROFILE)
SELECTION := --profile $(PROFILE) --workspace

# Spark's tasks take `python3` of PATH otherwise.
PYTHON_ENV := PYSPARK_PYTHON=$(BIN)/python PYSPARK_DRIVER_PYTHON=$(BIN)/python

SOURCES := Cargo.toml Cargo.lock pyspark_shim/Cargo.toml pyspark_shim/build.rs pyspark_shim/pyproject.toml pyspark_shim/hatch_build.py \
	$(shell find flight driver executor pyspark_shim/src pyspark_shim/lethe -type f -not -path '*/__pycache__/*' -not -path '*/tests/*')

.PHONY: demo test test-places lint bench docs setup

demo: $(WHEEL)
	$(PYTHON_ENV) PYSPARK_SUBMIT_ARGS="--master local[2] --conf spark.ui.enabled=false --conf spark.ui.showConsoleProgress=false pyspark-shell" \
		$(BIN)/python examples/search_digits.py

test: lint $(WHEEL) $(HADOOP)
	$(CARGO_ENV) $(CARGO) test $(SELECTION)
	$(PYTHON_ENV) $(BIN)/pytest -q -c pyspark_shim/pyproject.toml --rootdir . pyspark_shim/tests
	$(PYTHON_ENV) $(CARGO_ENV) $(BIN)/pytest -q -c pyspark_shim/pyproject.toml --rootdir . integration-tests --ignore integration-tests/places \
		-n 2 --dist loadfile

# With environments of their own, under .venv-places.
test-places: $(WHEEL) docs
	$(PYTHON_ENV) $(BIN)/pytest -q -c pyspark_shim/pyproject.toml --rootdir . integration-tests/places --durations 10

lint: $(PACKAGES)
	$(CARGO) fmt --check
	$(CARGO_ENV) $(CARGO) clippy $(SELECTION) --all-targets -- -D warnings
	$(BIN)/ruff check --config pyspark_shim/pyproject.toml pyspark_shim docker examples integration-tests benchmarks docs/mkdocs
	$(BIN)/ruff format --check --config pyspark_shim/pyproject.toml pyspark_shim docker examples integration-tests benchmarks docs/mkdocs
	cd pyspark_shim && $(BIN)/mypy

bench: $(WHEEL)
	$(PYTHON_ENV) $(CARGO_ENV) $(BIN)/python -m benchmarks

# bench-asha, bench-curves, bench-data, bench-distributed, bench-gpu, bench-scheduler, bench-search: what takes longer or a GPU.
bench-%: $(WHEEL)
	$(PYTHON_ENV) $(CARGO_ENV) $(BIN)/python -m benchmarks $*

docs: $(DOCS_VENV)/.packages
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

setup: $(WHEEL) $(HADOOP)

$(PACKAGES): requirements-dev.txt constraints.txt
	@command -v $(CARGO) >/dev/null || { echo "cargo was not found; install Rust: https://rustup.rs" >&2; exit 1; }
	@command -v java >/dev/null || { echo "java was not found; install Java 17, which Spark needs" >&2; exit 1; }
	@test -n "$(PYTHON)" || { echo "python3 was not found; install Python 3.11" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The site's own: it reads the package's sources and needs nothing of it.
$(DOCS_VENV)/.packages: docs/mkdocs/requirements.txt
	test -x $(DOCS_VENV)/bin/python || "$(PYTHON)" -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The jars that a namenode and a datanode load.
SERVERS := hadoop-* commons-* guava-1* protobuf-java-* netty-all-* jetty-* javax.servlet-api-* jackson-*-asl-* \
	xercesImpl-* htrace-core-* jakarta.ws.rs-api-* log4j-* slf4j-* jcl-over-slf4j-*

$(HADOOP): requirements-hadoop.txt | $(PACKAGES)
	rm -rf $@ $@.part && mkdir $@.part
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--dest $@.part -r requirements-hadoop.txt
	tar -xzf $@.part/pyspark-*.tar.gz -C $@.part --strip-components=3 --wildcards $(SERVERS:%='*/deps/jars/%.jar')
	rm $@.part/pyspark-*.tar.gz && mv $@.part $@ && touch $@

# Its build hook runs cargo; the binaries come from the same target folder as the tests'. The environment has one wheel.
$(WHEEL): $(PACKAGES) $(SOURCES)
	rm -f $(VENV)/.wheel-*
	LETHE_PROFILE=$(PROFILE) $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --force-reinstall ./pyspark_shim
	touch $@
