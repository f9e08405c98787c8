# Everything a developer or CI runs. `make demo` needs nothing but Rust, git and a shell; `make test` Node.js and Python, too.
CARGO ?= cargo
PD = target/release/pd
NODE_MODULES = bindings-node/node_modules/.package-lock.json
PYTHON ?= python3
# Where the Python tools are, and the wheel that is tested.
VENV = bindings-python/.venv
VENV_READY = $(VENV)/.ready
PACKAGE = bindings-python/python/port_daddy
# Other programs of the same sources: only the workspace's own packages are compiled again. A test loads SECOND_COPY.
FAULTS = env RUSTC_WORKSPACE_WRAPPER='$(CURDIR)/tools/with-faults' CARGO_BUILD_BUILD_DIR='$(CURDIR)/target' \
	SECOND_COPY='$(CURDIR)/target/faults/debug/examples/libsecond_copy.so' $(CARGO)
FAULTY = --locked --target-dir target/faults --workspace

# What is built is looked for where it is by default.
unexport CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_TARGET

.PHONY: help demo test test-rust second-copy test-faults test-no-tick storm storm-faces storm-proof test-node test-python test-mcp test-examples fuzz lint lint-python bench build debug declare install docs types npm wheel clean

help:
	@echo 'make demo     build what it needs and play a day of five agents'
	@echo 'make test     every suite: core, command line, Node.js, Python, examples'
	@echo 'make storm    many processes on one file, killed, stopped and raced, and what they saw checked; SECONDS=1800 for long'
	@echo 'make lint     formatting, clippy, generated files, documentation, licences'
	@echo 'make fuzz     fuzz every parser and the opening of the database, FUZZ_SECONDS (60) each, two at a time'
	@echo 'make bench    measure against peers (installs redis-server and hyperfine where missing); ONLY=name for one'
	@echo 'make install  install pd and port-daddy into cargo'\''s bin directory'
	@echo 'make npm      build the npm package and that of this platform into target/npm; needs Node.js 20'
	@echo 'make wheel    build the Python wheel into target/wheel; needs Python 3.10'
	@echo 'make docs     write the generated reference, completions and man pages'
	@echo 'make types    write the declarations of core'\''s types in other languages'

build:
	$(CARGO) build --release --locked -p port-daddy -p payment-day-agent

# Writes and checks generated files.
declare:
	$(CARGO) build --workspace --locked --bin declare

debug:
	$(CARGO) build --workspace --locked --bin pd

demo: build
	PD=$(PD) examples/payment-day.sh

test: test-rust test-faults test-no-tick test-node test-python test-mcp test-examples

test-rust:
	$(CARGO) test --workspace --locked

second-copy:
	$(FAULTS) build $(FAULTY) --example second_copy

# The same library, built so that it stops or dies where a test says.
test-faults: second-copy
	$(FAULTS) test $(FAULTY) --test runner -- faults::

# Nobody looks unless woken: what only the tick would make good fails or hangs here.
test-no-tick: second-copy
	PORT_DADDY_BROKEN=tick $(FAULTS) test $(FAULTY) --test runner --test cli

# What the storm's processes are: Rust and `pd` with faults, and the other faces as users get them.
storm-faces: npm wheel
	$(FAULTS) build -q $(FAULTY) --bin storm --bin pd
	rm -rf target/storm
	mkdir -p target/storm/node_modules
	cp -R target/npm/port-daddy target/npm/port-daddy-*/ target/storm/node_modules/
	cp storm/faces/* target/storm/
	$(VENV)/bin/pip install -q --no-index --no-deps --target target/storm/python target/wheel/*.whl

# Many processes on one file, killed, stopped and raced. 30 minutes: make storm SECONDS=1800.
SECONDS = 60
storm: storm-faces
	target/faults/debug/storm run --seconds $(SECONDS)
	target/faults/debug/storm hand-over

# A checker that never fails is none.
storm-proof: storm-faces
	target/faults/debug/storm prove

# What was packed, installed in an empty project.
test-node: npm
	node bindings-node/test/install.mjs
	tests/same-names

# What was built, installed in a virtual environment: that of the tools for the suites, an empty one for what users see.
test-python: wheel
	$(VENV)/bin/pip install -q --no-index --no-deps --force-reinstall target/wheel/*.whl
	cd bindings-python && .venv/bin/python -m pytest
	$(VENV)/bin/python -m mypy.stubtest port_daddy._native
	tests/same-names

# The MCP server, by a client of another hand: the official SDK for Python.
test-mcp: $(VENV_READY) debug
	PD=$(CURDIR)/target/debug/pd $(VENV)/bin/python -m pytest -q tests/mcp

# The examples run as users run them: with the released program, the wheel and the npm packages, installed in empty places.
test-examples: build npm wheel
	PD=$(PD) tests/examples.sh

# A minute each is for CI; a longer FUZZ_SECONDS finds more. What was found before is gone on with (target/fuzz/corpus).
FUZZ_SECONDS ?= 60
fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run.sh

lint: $(NODE_MODULES) debug declare lint-python
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	fuzz/run.sh check
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	target/debug/pd reference | diff docs/cli.md -
	target/debug/declare typescript | diff bindings-node/js/types.ts -
	target/debug/declare check-docs bindings-node/js/client.ts
	cd bindings-node && node_modules/.bin/tsc -p . --noEmit
	$(CARGO) package -p portdaddy-core --locked --allow-dirty --no-verify --list >/dev/null
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check licenses bans sources; \
	else echo 'cargo-deny is not installed: licences were not checked'; fi

lint-python: $(VENV_READY) declare
	target/debug/declare python-types | diff $(PACKAGE)/_types.py -
	target/debug/declare python-errors | diff $(PACKAGE)/_errors.py -
	target/debug/declare python-stub | diff $(PACKAGE)/_native.pyi -
	target/debug/declare python-docs
	cd bindings-python && .venv/bin/mypy
	cd bindings-python && .venv/bin/ruff check -q . && .venv/bin/ruff format -q --check .

bench:
	benches/run.sh $(ONLY)

docs: build
	$(PD) reference > docs/cli.md
	$(PD) man --out target/man
	for shell in bash zsh fish; do mkdir -p target/completions; $(PD) completions $$shell > target/completions/pd.$$shell; done

# The typed layer above the addon.
$(NODE_MODULES): bindings-node/package-lock.json bindings-node/package.json
	cd bindings-node && npm ci --no-audit --no-fund

npm: $(NODE_MODULES) build
	$(CARGO) build --release --locked -p port-daddy-node
	rm -rf bindings-node/dist
	cd bindings-node && node_modules/.bin/tsc -p .
	node bindings-node/build.mjs

# The Python tools.
$(VENV_READY): bindings-python/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r bindings-python/requirements.txt
	touch $@

# The wheel brings `pd` along, as a script. Its debugging symbols stay here.
wheel: $(VENV_READY) build
	rm -rf target/wheel bindings-python/port_daddy.data
	mkdir -p bindings-python/port_daddy.data/scripts
	cp $(PD) bindings-python/port_daddy.data/scripts/pd
	printf '#!/bin/sh\nexec "$$(dirname "$$(readlink -f "$$0")")/pd" "$$@"\n' > bindings-python/port_daddy.data/scripts/port-daddy
	chmod +x bindings-python/port_daddy.data/scripts/port-daddy
	cd bindings-python && .venv/bin/maturin build -q --release --locked --out ../target/wheel

types: declare
	target/debug/declare typescript > target/types && cp target/types bindings-node/js/types.ts
	target/debug/declare python-types > target/types && cp target/types $(PACKAGE)/_types.py
	target/debug/declare python-errors > target/types && cp target/types $(PACKAGE)/_errors.py
	target/debug/declare python-stub > target/types && cp target/types $(PACKAGE)/_native.pyi

install:
	$(CARGO) install --locked --path cli

clean:
	$(CARGO) clean
