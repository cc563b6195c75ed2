# Warren's commands for people. `make demo` and `make test` do all of their own set-up.

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
# Not every login reads the profile that rustup wrote.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# The directory of the programs to install; without one given, they are built.
BIN ?= $(or $(CARGO_TARGET_DIR),target)/release
# Debian's and Fedora's zsh look in different places: site-functions on Fedora.
ZSH_DIR ?= vendor-completions

.PHONY: demo test test-boot bench conformance docs build install deb rpm fmt clippy setup

# Two guests on a rootless network reach each other, and one reaches out over NAT.
demo: setup
	@scripts/demo.sh

# Everything that must hold before a change goes in.
test: setup
	@scripts/test.sh

# The last part of the tests alone: boots a Debian with systemd and our package in it, and lives a package's life there.
test-boot:
	@scripts/test-boot.sh

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

# What a package installs, below DESTDIR: the .deb and the .rpm are made of exactly this.
install: $(if $(filter file,$(origin BIN)),build)
	install -Dm0755 $(BIN)/warrend $(DESTDIR)$(PREFIX)/sbin/warrend
	install -Dm0755 $(BIN)/warrenctl $(DESTDIR)$(PREFIX)/bin/warrenctl
	install -Dm0644 dbus/org.warren1.conf $(DESTDIR)$(PREFIX)/share/dbus-1/system.d/org.warren1.conf
	install -Dm0644 dbus/org.warren1.service $(DESTDIR)$(PREFIX)/share/dbus-1/system-services/org.warren1.service
	install -Dm0644 dbus/org.warren1.session.service $(DESTDIR)$(PREFIX)/share/dbus-1/services/org.warren1.service
	install -Dm0644 -t $(DESTDIR)$(PREFIX)/share/dbus-1/interfaces dbus/org.warren1.*.xml
	install -Dm0644 policy/org.warren1.policy $(DESTDIR)$(PREFIX)/share/polkit-1/actions/org.warren1.policy
	install -Dm0644 examples/default.xml $(DESTDIR)$(PREFIX)/share/warren/networks/default.xml
	install -Dm0644 packaging/systemd/system/warrend.service $(DESTDIR)$(PREFIX)/lib/systemd/system/warrend.service
	install -Dm0644 packaging/systemd/user/warrend.service $(DESTDIR)$(PREFIX)/lib/systemd/user/warrend.service
	install -Dm0644 packaging/sysusers.d/warren.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/warren.conf
	install -Dm0644 packaging/tmpfiles.d/warren.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/warren.conf
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/$(ZSH_DIR) $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BIN)/warrenctl man $(DESTDIR)$(PREFIX)/share/man/man1
	for page in man/*.[1-9]; do install -Dm0644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; done
	$(BIN)/warrenctl completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/warrenctl
	$(BIN)/warrenctl completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/$(ZSH_DIR)/_warrenctl
	$(BIN)/warrenctl completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/warrenctl.fish
	for po in po/*.po; do lang=$$(basename $$po .po); dir=$(DESTDIR)$(PREFIX)/share/locale/$$lang/LC_MESSAGES; \
		install -d $$dir && msgfmt -o $$dir/warren.mo $$po || exit 1; done
	install -Dm0644 -t $(DESTDIR)/etc/apparmor.d packaging/apparmor/usr.sbin.warrend
	install -Dm0644 -t $(DESTDIR)$(PREFIX)/share/doc/warren README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE \
		policy/50-warren-example.rules
	install -Dm0644 -t $(DESTDIR)$(PREFIX)/share/doc/warren/examples examples/*.xml examples/tap-ifup

# Into target/packages.
deb:
	@scripts/package.sh deb

rpm:
	@scripts/package.sh rpm
