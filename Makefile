# Everything a developer or CI runs. `make demo` needs nothing but Rust, git and a shell; `make test` Node.js, too.
CARGO ?= cargo
PD = target/release/pd
NODE_MODULES = bindings-node/node_modules/.package-lock.json

.PHONY: help demo test test-rust test-faults test-node test-examples lint bench build install docs types npm clean

help:
	@echo 'make demo     build what it needs and play a day of five agents'
	@echo 'make test     every suite: core, command line, Node.js, examples'
	@echo 'make lint     formatting, clippy, generated files, documentation, licences'
	@echo 'make bench    measure against peers (installs redis-server and hyperfine where missing); ONLY=name for one'
	@echo 'make install  install pd and port-daddy into cargo'\''s bin directory'
	@echo 'make npm      build the npm package and that of this platform into target/npm; needs Node.js 20'
	@echo 'make docs     write the generated reference, completions and man pages'
	@echo 'make types    write the declarations of core'\''s types in other languages'

build:
	$(CARGO) build --release --locked -p port-daddy -p payment-day-agent

demo: build
	PD=$(PD) examples/payment-day.sh

test: test-rust test-faults test-node test-examples

test-rust:
	$(CARGO) test --workspace --locked

# The same library, built so that it stops or dies where a test says.
test-faults:
	RUSTFLAGS='--cfg portdaddy_faults' $(CARGO) test --locked -p portdaddy-core --target-dir target/faults --test runner -- faults::

# What was packed, installed in an empty project.
test-node: npm
	node bindings-node/test/install.mjs
	tests/same-names

# The examples run as users run them: with the released program.
test-examples: build
	PD=$(PD) tests/examples.sh

lint: $(NODE_MODULES)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	$(CARGO) run -q --locked -p port-daddy --bin pd -- reference | diff docs/cli.md -
	$(CARGO) run -q --locked -p declare -- typescript | diff bindings-node/js/types.ts -
	$(CARGO) run -q --locked -p declare -- check-docs bindings-node/js/client.ts
	cd bindings-node && node_modules/.bin/tsc -p . --noEmit
	$(CARGO) package -p portdaddy-core --locked --allow-dirty --no-verify --list >/dev/null
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check licenses bans sources; \
	else echo 'cargo-deny is not installed: licences were not checked'; fi

bench:
	benches/run.sh $(ONLY)

docs: build
	$(PD) reference > docs/cli.md
	$(PD) man --out target/man
	for shell in bash zsh fish; do mkdir -p target/completions; $(PD) completions $$shell > target/completions/pd.$$shell; done

# The typed layer above the addon.
$(NODE_MODULES): bindings-node/package-lock.json bindings-node/package.json
	cd bindings-node && npm ci --no-audit --no-fund

npm: $(NODE_MODULES)
	$(CARGO) build --release --locked -p port-daddy-node -p port-daddy
	rm -rf bindings-node/dist
	cd bindings-node && node_modules/.bin/tsc -p .
	node bindings-node/build.mjs

types:
	$(CARGO) run -q --locked -p declare -- typescript > bindings-node/js/types.ts

install:
	$(CARGO) install --locked --path cli

clean:
	$(CARGO) clean
