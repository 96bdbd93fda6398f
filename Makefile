# The front door. `make demo` shows a failover on this machine, `make test` runs everything that is tested.
#   make demo [KEEP=1]        two regions, one is cut off, the other takes over; the last line is one JSON object
#   make test                 everything; the last line is "N passed, N failed"
#   make verify               formats, lints, dependencies, docs, unit and property tests; changes nothing
#   make e2e [ONLY=family]    real processes, PostgreSQL, HAProxy, Docker and systemd on hosts that are cut off
#   make chaos [SEEDS=30]     seeded cuts, heals and kills; HF_SEED=17 replays one
#   make bench [BENCH_MINUTES=10]   how long the parts of a failover take; what an agent takes; a coordinator with 200
#                             and with 2,000 hosts; then each fuzz target for a minute
#   make fuzz [TARGET=all] [SECONDS=60]   throw mutated bytes at every place where bytes come in
#   make install              programs, units, manual, completions; PREFIX=/usr/local, DESTDIR= for a folder of its own
#   make uninstall            takes away what make install has brought, and leaves state and configuration
#   make packages             three Debian packages in target/debian, to be installed with dpkg -i
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test verify e2e chaos bench fuzz tools fuzz-tools preflight preflight-docker
.PHONY: build share install uninstall packages deb-tool

TOOLS := target/tools
# What is installed already is used; what is not goes into the build's own folder.
export PATH := $(PATH):$(CURDIR)/$(TOOLS)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

PREFIX ?= /usr/local
DESTDIR ?=
# dev is built in less time and runs slower: for tests.
PROFILE ?= release
BUILT := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
PROGRAMS := holdfast holdfast-agent holdfast-helper holdfast-coordinator
DAEMONS := agent coordinator
PARTS := cli agent coordinator
UNITS := $(notdir $(wildcard systemd/*.service systemd/*.socket))

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

test: preflight-docker deb-tool
	@tests/suite.sh all

e2e: preflight-docker deb-tool
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

deb-tool:
	@command -v cargo-deb >/dev/null || { \
	  echo "cargo-deb is missing: installing it into $(TOOLS), some minutes, once"; \
	  cargo install cargo-deb --locked --root $(TOOLS) \
	    || { echo "could not; by hand: cargo install cargo-deb --locked --root $(TOOLS)" >&2; exit 1; }; }

build:
	cargo build --workspace --bins --profile $(PROFILE)

# What the programs say of themselves: manual pages and completions.
share:
	@rm -rf target/share && mkdir -p target/share/{man/man1,man/man8,bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
	@$(BUILT)/manuals target/share/man/man1 target/share/man/man8
	@$(BUILT)/holdfast completions bash >target/share/bash-completion/completions/holdfast
	@$(BUILT)/holdfast completions zsh >target/share/zsh/vendor-completions/_holdfast
	@$(BUILT)/holdfast completions fish >target/share/fish/vendor_completions.d/holdfast.fish

# Built by whoever calls it; with sudo by whoever called that, because root may have no cargo.
install:
	@for program in $(PROGRAMS) manuals; do [ -x $(BUILT)/$$program ] || { \
	  echo "$(BUILT)/$$program is missing: building"; \
	  if [ "$$(id -u)" = 0 ] && [ "$${SUDO_UID:-0}" != 0 ]; then \
	    su -l "$$SUDO_USER" -c 'make -C "$(CURDIR)" build PROFILE=$(PROFILE)'; \
	  else $(MAKE) build; fi; break; }; done
	@$(MAKE) --no-print-directory share
	install -d "$(DESTDIR)$(PREFIX)"/{bin,lib/systemd/system,lib/sysusers.d,lib/tmpfiles.d,share/man/man1,share/man/man8}
	install -d "$(DESTDIR)$(PREFIX)"/share/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,doc/holdfast/examples}
	install -m 755 $(PROGRAMS:%=$(BUILT)/%) "$(DESTDIR)$(PREFIX)/bin/"
	@for unit in $(UNITS); do \
	  sed 's,/usr/bin/holdfast,$(PREFIX)/bin/holdfast,' "systemd/$$unit" >"$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit"; done
	install -m 644 $(DAEMONS:%=systemd/sysusers/holdfast-%.conf) "$(DESTDIR)$(PREFIX)/lib/sysusers.d/"
	install -m 644 $(DAEMONS:%=systemd/tmpfiles/holdfast-%.conf) "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/"
	install -m 644 $(DAEMONS:%=systemd/%.toml) examples/*.yaml "$(DESTDIR)$(PREFIX)/share/doc/holdfast/examples/"
	install -m 644 target/share/man/man1/* "$(DESTDIR)$(PREFIX)/share/man/man1/"
	install -m 644 target/share/man/man8/* "$(DESTDIR)$(PREFIX)/share/man/man8/"
	install -m 644 target/share/bash-completion/completions/holdfast "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/"
	install -m 644 target/share/zsh/vendor-completions/_holdfast "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/"
	install -m 644 target/share/fish/vendor_completions.d/holdfast.fish "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/"
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	  systemd-sysusers $(DAEMONS:%=holdfast-%.conf) && systemd-tmpfiles --create $(DAEMONS:%=holdfast-%.conf) && \
	  systemctl daemon-reload && echo "systemd knows the units; nothing is started yet"; fi

# What runs is stopped first; state, configuration and users stay.
uninstall:
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	  for unit in $(UNITS); do systemctl --quiet disable --now "$$unit" 2>/dev/null || true; done; \
	  "$(PREFIX)/bin/holdfast-helper" units --remove || true; fi
	rm -f $(PROGRAMS:%="$(DESTDIR)$(PREFIX)/bin/%") $(UNITS:%="$(DESTDIR)$(PREFIX)/lib/systemd/system/%")
	rm -f "$(DESTDIR)$(PREFIX)"/lib/{sysusers,tmpfiles}.d/holdfast-{agent,coordinator}.conf
	rm -f "$(DESTDIR)$(PREFIX)"/share/man/man1/holdfast{,-*}.1 "$(DESTDIR)$(PREFIX)"/share/man/man8/holdfast-*.8
	rm -f "$(DESTDIR)$(PREFIX)"/share/bash-completion/completions/holdfast "$(DESTDIR)$(PREFIX)"/share/zsh/site-functions/_holdfast
	rm -f "$(DESTDIR)$(PREFIX)"/share/fish/vendor_completions.d/holdfast.fish
	rm -rf "$(DESTDIR)$(PREFIX)/share/doc/holdfast"
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

# VERSION= for another than the workspace's; OUT= for another folder; PARTS= for some of them.
packages: deb-tool build
	@$(MAKE) --no-print-directory share
	@for part in $(PARTS); do \
	  cargo deb --quiet --locked --no-build --no-dbgsym --strip $(if $(filter dev,$(PROFILE)),--fast) --profile $(PROFILE) --manifest-path $$part/Cargo.toml \
	    $(if $(VERSION),--deb-version $(VERSION)) --output "$(or $(OUT),target/debian)/"; done
