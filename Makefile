# The front door. `make demo` shows a failover on this machine, `make test` runs everything that is tested.
#   make demo [KEEP=1]        two regions, one is cut off, the other takes over; the last line is one JSON object
#   make test                 everything; the last line is "N passed, N failed"
#   make verify               formats, lints, dependencies, docs, unit and property tests; changes nothing
#   make e2e [ONLY=family]    real processes, PostgreSQL, HAProxy, Docker and systemd on hosts that are cut off
#   make chaos [SEEDS=30]     seeded cuts, heals and kills; HF_SEED=17 replays one
#   make bench [BENCH_MINUTES=10]   how long the parts of a failover take; what an agent takes; a coordinator with 200
#                             and with 2,000 hosts; then each fuzz target for a minute
#   make fuzz [TARGET=all] [SECONDS=60]   throw mutated bytes at every place where bytes come in
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test verify e2e chaos bench fuzz tools fuzz-tools preflight preflight-docker

TOOLS := target/tools
# What is installed already is used; what is not goes into the build's own folder.
export PATH := $(PATH):$(CURDIR)/$(TOOLS)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

help:
	@sed -n 's/^#   //p' Makefile

preflight:
	@tests/preflight.sh

preflight-docker:
	@tests/preflight.sh --with-docker

demo:
	@tests/preflight.sh --demo
	@cargo build --workspace --bins
	@$(SUDO) target/debug/demo $(if $(KEEP),--keep)

test: preflight-docker
	@tests/suite.sh all

e2e: preflight-docker
	@tests/suite.sh e2e $(ONLY)

# A seed takes about forty seconds, three at a time.
chaos: preflight
	@HF_SEEDS=$(or $(SEEDS),30) LIMIT=3600 tests/suite.sh e2e campaign

bench: preflight-docker
	@cargo build --profile release-ci --workspace --bins
	@$(SUDO) target/release-ci/bench --minutes $(or $(BENCH_MINUTES),10)
	@$(MAKE) --no-print-directory fuzz

# The stable toolchain does; a C++ compiler is needed for libFuzzer itself.
fuzz: fuzz-tools
	@tests/fuzz.sh $(or $(TARGET),all) $(or $(SECONDS),60)

verify: tools
	cargo deny --locked check bans licenses sources
	@tests/suite.sh unit

tools:
	@command -v cargo-deny >/dev/null || { \
	  echo "cargo-deny is missing: installing it into $(TOOLS), some minutes, once"; \
	  cargo install cargo-deny --locked --root $(TOOLS) \
	    || { echo "could not; by hand: cargo install cargo-deny --locked --root $(TOOLS)" >&2; exit 1; }; }

fuzz-tools:
	@command -v cargo-fuzz >/dev/null || { \
	  echo "cargo-fuzz is missing: installing it into $(TOOLS), a minute, once"; \
	  cargo install cargo-fuzz --locked --root $(TOOLS) \
	    || { echo "could not; by hand: cargo install cargo-fuzz --locked --root $(TOOLS)" >&2; exit 1; }; }
