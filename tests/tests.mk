# Unit tests, end-to-end tests, lint, fuzzing, benchmark. Everything that is made
# while testing goes to checks/ in the build folder.

# The line of counts is the last one, not "Leaving directory".
AM_MAKEFLAGS = --no-print-directory

# --- unit tests: each program links exactly the sources that it tests -------------
unit_programs = checks/test_args checks/test_cgroup checks/test_claim checks/test_config \
	checks/test_filter checks/test_filter_zygote checks/test_frame checks/test_function checks/test_host checks/test_idmap \
	checks/test_json checks/test_outcome checks/test_package checks/test_runtimes checks/test_settings checks/test_state \
	checks/test_pool checks/test_wire checks/test_http_client checks/test_decode checks/test_table checks/test_launcher checks/test_listen checks/test_logbook checks/test_registry
if HAVE_CMOCKA
check_PROGRAMS += $(unit_programs)
unit_arguments = $(unit_programs)
else
unit_arguments = --without-unit 'cmocka was not found by configure: apt-get install libcmocka-dev'
endif

checks_test_args_SOURCES = tests/unit/test_args.c cli/args.c cli/args_table.c cli/args_help.c
checks_test_args_LDADD = $(CMOCKA_LIBS)
checks_test_cgroup_SOURCES = tests/unit/test_cgroup.c isolate/cgroup.c isolate/file.c isolate/cgroup_v1.c isolate/cgroup_v2.c
checks_test_cgroup_LDADD = $(CMOCKA_LIBS)
checks_test_claim_SOURCES = tests/unit/test_claim.c isolate/claim.c
checks_test_claim_LDADD = $(CMOCKA_LIBS)
config_sources = images/config.c images/config_lines.c images/config_table.c images/config_value.c images/runtimes.c
checks_test_config_SOURCES = tests/unit/test_config.c $(config_sources)
checks_test_config_LDADD = $(CMOCKA_LIBS) $(INIH_LIBS)
checks_test_filter_SOURCES = tests/unit/test_filter.c tests/unit/bpf_simulate.c isolate/filter.c
checks_test_filter_LDADD = $(CMOCKA_LIBS) $(SECCOMP_LIBS)
checks_test_filter_zygote_SOURCES = tests/unit/test_filter_zygote.c tests/unit/bpf_simulate.c isolate/filter.c
checks_test_filter_zygote_LDADD = $(CMOCKA_LIBS) $(SECCOMP_LIBS)
checks_test_frame_SOURCES = tests/unit/test_frame.c runner/frame.c runner/logs.c images/json.c
checks_test_frame_LDADD = $(CMOCKA_LIBS)
checks_test_function_SOURCES = tests/unit/test_function.c images/function.c images/detect.c images/folder.c \
	images/handler.c images/json.c $(config_sources)
checks_test_function_LDADD = $(CMOCKA_LIBS) $(INIH_LIBS)
checks_test_host_SOURCES = tests/unit/test_host.c isolate/file.c images/host.c images/host_tree.c images/copy.c
# Its paths are short and made from several buffers of one size.
checks_test_host_CFLAGS = $(AM_CFLAGS) -Wno-format-truncation -Wno-restrict
checks_test_host_LDADD = $(CMOCKA_LIBS)
checks_test_idmap_SOURCES = tests/unit/test_idmap.c isolate/idmap.c isolate/file.c
checks_test_idmap_LDADD = $(CMOCKA_LIBS)
checks_test_json_SOURCES = tests/unit/test_json.c images/json.c
checks_test_json_LDADD = $(CMOCKA_LIBS)
checks_test_outcome_SOURCES = tests/unit/test_outcome.c runner/outcome.c runner/failure.c \
	runner/report.c images/json.c
checks_test_outcome_LDADD = $(CMOCKA_LIBS)
checks_test_package_SOURCES = tests/unit/test_package.c $(package_sources) $(unpack_sources) cli/programs.c
checks_test_package_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS) $(CRYPTO_CFLAGS) $(ARCHIVE_CFLAGS)
checks_test_package_LDADD = $(CMOCKA_LIBS) $(SYSTEMD_LIBS) $(CRYPTO_LIBS) $(ARCHIVE_LIBS)
EXTRA_checks_test_package_DEPENDENCIES = fnrun-unpack$(EXEEXT)
checks_test_settings_SOURCES = tests/unit/test_settings.c runner/settings.c $(config_sources)
checks_test_settings_LDADD = $(CMOCKA_LIBS) $(INIH_LIBS)
checks_test_state_SOURCES = tests/unit/test_state.c $(state_sources) runner/package_tree.c runner/outcome.c images/json.c
checks_test_state_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
checks_test_state_LDADD = $(CMOCKA_LIBS) $(SQLITE_LIBS)
checks_test_http_client_SOURCES = tests/unit/test_http_client.c cli/http.c
checks_test_http_client_LDADD = $(CMOCKA_LIBS)
checks_test_decode_SOURCES = tests/unit/test_decode.c cli/decode.c cli/base64.c images/json.c
checks_test_decode_LDADD = $(CMOCKA_LIBS)
checks_test_table_SOURCES = tests/unit/test_table.c cli/table.c cli/log_lines.c cli/remote.c cli/http.c cli/connect.c
checks_test_table_CFLAGS = $(AM_CFLAGS) $(CJSON_CFLAGS)
checks_test_table_LDADD = $(CMOCKA_LIBS) $(CJSON_LIBS)
checks_test_pool_SOURCES = tests/unit/test_pool.c $(fnrund_pool_sources) runner/conclude.c runner/failure.c \
	runner/outcome.c runner/frame.c runner/logs.c runner/request_id.c isolate/wire.c isolate/keeper_message.c \
	images/json.c images/runtimes.c
checks_test_pool_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
checks_test_pool_LDADD = $(CMOCKA_LIBS) $(SYSTEMD_LIBS)
checks_test_wire_SOURCES = tests/unit/test_wire.c isolate/wire.c
checks_test_wire_LDADD = $(CMOCKA_LIBS)
checks_test_launcher_SOURCES = tests/unit/test_launcher.c tests/unit/launcher_keeper.c tests/unit/launcher_keeper.h \
	isolate/wire.c isolate/root.c isolate/sys.c isolate/idmap.c isolate/file.c
checks_test_launcher_LDADD = $(CMOCKA_LIBS)
EXTRA_checks_test_launcher_DEPENDENCIES = fnrun-launcher$(EXEEXT) fnrun-keeper$(EXEEXT)
checks_test_listen_SOURCES = tests/unit/test_listen.c runner/listen.c runner/store.c
checks_test_listen_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
checks_test_listen_LDADD = $(CMOCKA_LIBS) $(SYSTEMD_LIBS)
checks_test_logbook_SOURCES = tests/unit/test_logbook.c runner/logbook.c runner/logbook_journal.c
checks_test_logbook_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
checks_test_logbook_LDADD = $(CMOCKA_LIBS) $(SYSTEMD_LIBS)
checks_test_registry_SOURCES = tests/unit/test_registry.c $(fnrund_registry_sources) $(state_sources) \
	runner/package_digest.c runner/package_keep.c runner/package_tree.c runner/outcome.c \
	images/json.c images/function.c images/detect.c images/folder.c images/handler.c isolate/file.c cli/programs.c \
	$(config_sources)
checks_test_registry_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS) $(SQLITE_CFLAGS) $(CRYPTO_CFLAGS) $(CJSON_CFLAGS)
checks_test_registry_LDADD = $(CMOCKA_LIBS) $(SYSTEMD_LIBS) $(SQLITE_LIBS) $(CRYPTO_LIBS) $(CJSON_LIBS) $(INIH_LIBS)
checks_test_runtimes_SOURCES = tests/unit/test_runtimes.c images/runtimes.c
checks_test_runtimes_LDADD = $(CMOCKA_LIBS)

# Servers that the tests of HTTP talk to: the gateway by itself, with short times; the API over
# pools and a registry that are made up.
check_PROGRAMS += checks/http_server checks/http_api_server
checks_http_server_SOURCES = isolate/file.c tests/http/server.c $(fnrund_gateway_sources)
checks_http_server_CPPFLAGS = $(AM_CPPFLAGS) -DHTTP_IDLE_S=1 -DHTTP_GRACE_US=1000000ull -DHTTP_HEADERS_US=2000000ull \
	-DHTTP_SWEEP_US=200000ull
checks_http_server_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS) $(MICROHTTPD_CFLAGS)
checks_http_server_LDADD = $(SYSTEMD_LIBS) $(MICROHTTPD_LIBS)
checks_http_api_server_SOURCES = isolate/file.c tests/http/api_server.c $(fnrund_gateway_sources) $(fnrund_api_sources) \
	runner/logbook.c runner/logbook_journal.c runner/outcome.c runner/request_id.c images/json.c $(config_sources)
checks_http_api_server_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS) $(MICROHTTPD_CFLAGS) $(CJSON_CFLAGS)
checks_http_api_server_LDADD = $(SYSTEMD_LIBS) $(MICROHTTPD_LIBS) $(CJSON_LIBS) $(INIH_LIBS)

# make check TESTS_ONLY=pattern runs the part whose names have the pattern in them.
TESTS_ONLY =
check-local:
	@test -n '$(PYTHON3)' || { echo 'the tests need /usr/bin/python3: run ./bootstrap, then ./configure' >&2; exit 1; }
	@$(PYTHON3) $(srcdir)/tests/run-all --source $(srcdir) --build $(builddir) \
		--only '$(TESTS_ONLY)' -- $(unit_arguments)

# --- what does not run with every check ---------------------------------------------
lint: $(BUILT_SOURCES) config.h
	@$(srcdir)/tests/tools/lint $(srcdir) $(builddir)

# NAME:SOURCE,SOURCE...: tests/fuzz/fuzz_NAME.c and what it is linked with.
fuzz_targets = json:images/json.c answer:cli/http.c,cli/base64.c,cli/decode.c,images/json.c \
	unpack:isolate/file.c,runner/unpack_files.c,runner/unpack_name.c,runner/package_tree.c \
	settings:runner/settings.c,images/config.c,images/config_lines.c,images/config_table.c,images/config_value.c,images/runtimes.c \
	config:images/config.c,images/config_lines.c,images/config_table.c,images/config_value.c,images/runtimes.c
FUZZ_SECONDS = 20
fuzz: $(BUILT_SOURCES) config.h
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(srcdir)/tests/tools/fuzz $(srcdir) $(builddir) $(fuzz_targets)

bench: all
	@$(srcdir)/tests/bench/run --build $(abs_builddir)

# The whole suite again with ASan and UBSan. From a copy: a folder that has been
# configured cannot be the source of another build.
check-sanitizers:
	rm -rf checks/sanitizers
	$(MKDIR_P) checks/sanitizers/build
	$(MAKE) distdir distdir=checks/sanitizers/source
	cd checks/sanitizers/build && ../source/configure -q --enable-sanitizers
	cd checks/sanitizers/build && $(MAKE) check TESTS_ONLY='$(TESTS_ONLY)'

# Compiled, not run: no machine for it here. OpenSSL has a header for each processor.
check-aarch64: $(BUILT_SOURCES) config.h
	@$(srcdir)/tests/tools/cross-build $(srcdir) $(builddir) aarch64-linux-gnu-gcc \
		$(sort $(fnrun_SOURCES) $(fnrun_once_SOURCES) $(fnrun_launcher_SOURCES) $(fnrun_keeper_SOURCES) \
		$(filter-out runner/package_digest.c,$(fnrund_SOURCES)) $(runtimes_native_fnrun_native_SOURCES))

# Many calls of several functions by several clients: nothing lost, nothing left, nothing grown.
SOAK_CALLS = 100000
soak: all
	@$(PYTHON3) $(srcdir)/tests/soak --build $(abs_builddir) $(SOAK_CALLS)

# On pure cgroup v2 under systemd.
check-vm: all
	@$(srcdir)/tests/vm/run -b $(builddir)

check-long:
	$(MAKE) check
	$(MAKE) lint
	$(MAKE) check-sanitizers
	$(MAKE) fuzz FUZZ_SECONDS=300
	$(MAKE) check-aarch64
	$(MAKE) distcheck
	$(MAKE) check-vm

.PHONY: lint soak fuzz bench check-sanitizers check-aarch64 check-vm check-long

# Other fragments add to these two as well: only prerequisites here.
clean-local: clean-checks
clean-checks:
	rm -rf checks
dist-hook: dist-without-products
dist-without-products:
	find $(distdir) \( -name __pycache__ -o -name '*.o' -o -name .deps -o -name .dirstamp \) -prune -exec rm -rf {} +
.PHONY: clean-checks dist-without-products

EXTRA_DIST += .ci/run examples tests/run-all tests/.clang-tidy tests/cppcheck-suppressions.txt \
	tests/tools tests/runtimes tests/http tests/e2e tests/soak tests/fuzz tests/bench tests/vm
