# Warren's commands for people. `make demo` and `make test` do all of their own set-up.

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
# Not every login reads the profile that rustup wrote.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: demo test bench conformance docs build install fmt clippy setup

# Two guests on a rootless network reach each other, and one reaches out over NAT.
demo: setup
	@scripts/demo.sh

# Everything that must hold before a change goes in.
test: setup
	@scripts/test.sh

# Measures Warren against libvirt and others, and writes docs/performance.md.
bench: setup
	@scripts/bench.sh

# Judges the documents in $WARREN_CONFORMANCE and writes docs/conformance.md.
conformance: setup
	WARREN_BLESS=1 $(CARGO) test --locked --test conformance

# Renders docs/api.md, man/org.warren1.5 and the proxies for Rust from dbus/.
docs:
	WARREN_BLESS=1 $(CARGO) test --locked --test contract

build:
	$(CARGO) build --release --locked

fmt:
	$(CARGO) fmt --all

clippy:
	$(CARGO) clippy --all-targets --locked -- -D warnings

setup:
	@scripts/setup.sh

# What a package installs, below DESTDIR.
install: build
	install -Dm0755 target/release/warrend $(DESTDIR)$(PREFIX)/sbin/warrend
	install -Dm0755 target/release/warrenctl $(DESTDIR)$(PREFIX)/bin/warrenctl
	install -Dm0644 dbus/org.warren1.conf $(DESTDIR)$(PREFIX)/share/dbus-1/system.d/org.warren1.conf
	install -Dm0644 dbus/org.warren1.service $(DESTDIR)$(PREFIX)/share/dbus-1/system-services/org.warren1.service
	install -Dm0644 dbus/org.warren1.session.service $(DESTDIR)$(PREFIX)/share/dbus-1/services/org.warren1.service
	for interface in Manager Network Domain Job; do install -Dm0644 dbus/org.warren1.$$interface.xml \
		$(DESTDIR)$(PREFIX)/share/dbus-1/interfaces/org.warren1.$$interface.xml || exit 1; done
	install -Dm0644 policy/org.warren1.policy $(DESTDIR)$(PREFIX)/share/polkit-1/actions/org.warren1.policy
	install -Dm0644 examples/default.xml $(DESTDIR)$(PREFIX)/share/warren/networks/default.xml
	install -Dm0644 packaging/systemd/system/warrend.service $(DESTDIR)$(PREFIX)/lib/systemd/system/warrend.service
	install -Dm0644 packaging/systemd/user/warrend.service $(DESTDIR)$(PREFIX)/lib/systemd/user/warrend.service
	install -Dm0644 packaging/sysusers.d/warren.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/warren.conf
	install -Dm0644 packaging/tmpfiles.d/warren.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/warren.conf
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	target/release/warrenctl man $(DESTDIR)$(PREFIX)/share/man/man1
	install -Dm0644 man/warrend.8 $(DESTDIR)$(PREFIX)/share/man/man8/warrend.8
	install -Dm0644 -t $(DESTDIR)$(PREFIX)/share/doc/warren README.md examples/*.xml examples/tap-ifup policy/50-warren-example.rules
