# The doors of the house. Rust and Python 3 are all that must be there; the rest is installed by these targets.

# A build folder outside the checkout (CARGO_TARGET_DIR) holds the tools as well.
TOOLS := $(or $(CARGO_TARGET_DIR),target)/tools
VENV := $(or $(CARGO_TARGET_DIR),target)/venv
# The tests look for these beside what cargo builds.
WITNESSES := $(or $(CARGO_TARGET_DIR),target)/witnesses
DENY_VERSION := 0.20.2

## Options of the demo: make demo ARGS="--for 30s".
ARGS ?=

.PHONY: demo build test witnesses lint bench audit clean-tools

## Everything at work on a synthetic organisation, with lines to try in another terminal. Ctrl-C ends it.
demo:
	cargo build --locked --workspace --bin dormouse
	$(or $(CARGO_TARGET_DIR),target)/debug/dormouse demo $(ARGS)

## The program as it is shipped, in target/dist/dormouse.
build:
	cargo build --profile dist --package dormouse

## Everything that can be tested, the program itself included. One build serves all tests: the targets and features of
## both commands are the same, so nothing is compiled twice.
test: witnesses
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked

## Programs of others that the tests hold ours against: MiniStack, Prometheus. Some 200 MB.
witnesses: $(WITNESSES)/installed.stamp

## Format, lints as errors, licences and sources of dependencies.
lint: $(TOOLS)/bin/cargo-deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	$(TOOLS)/bin/cargo-deny --workspace check bans licenses sources

## Known vulnerabilities in dependencies; needs to reach the advisory database.
audit: $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-deny --workspace check advisories

## Speed and memory, each beside what it is held against, in one run.
bench: $(VENV)/duckdb.stamp
	cargo build --profile dist --locked --package dormouse --package dormouse-benches
	DUCKDB_PYTHON="$(abspath $(VENV))/bin/python3" $(or $(CARGO_TARGET_DIR),target)/dist/dormouse-benches

$(TOOLS)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version $(DENY_VERSION) --locked --debug --root $(TOOLS)

$(VENV)/duckdb.stamp: benches/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement benches/requirements.txt
	touch $@

$(WITNESSES)/installed.stamp: tests/witnesses/install tests/requirements.txt
	tests/witnesses/install $(WITNESSES)
	touch $@

clean-tools:
	rm -rf $(TOOLS) $(VENV) $(WITNESSES)
