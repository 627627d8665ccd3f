# The language side of each runtime, staged in runtimes/ as it is installed:
# fnrun-once finds it in the folder of its own executable in both places.
#
#     runtimes/python/       sources and their compiled form
#     runtimes/node/
#     runtimes/native/       fnrun-native, which loads a shared object

runtimes_python_sources = $(wildcard $(srcdir)/images/runtimes/python/*.py)
runtimes_node_sources = $(wildcard $(srcdir)/images/runtimes/node/*.*js)
runtimesdir = $(pkglibexecdir)/runtimes

EXTRA_DIST += $(runtimes_python_sources) $(runtimes_node_sources)
CLEANFILES += runtimes/stamp

# Runs user code: always dynamic, and never with sanitizers, whose reserved memory
# and own allocator would be the function's.
runtimesnativedir = $(runtimesdir)/native
runtimesnative_PROGRAMS = runtimes/native/fnrun-native
runtimes_native_fnrun_native_SOURCES = images/runtimes/native/loader.c images/runtimes/native/fnrun.h
runtimes_native_fnrun_native_CFLAGS = $(FNRUN_CFLAGS)
runtimes_native_fnrun_native_LDFLAGS =
runtimes_native_fnrun_native_LDADD = -ldl

# Compiled files carry no times and are not checked against their sources: the place
# they are in cannot be written, and the sources' times differ in every copy.
if HAVE_PYTHON3
runtimes_compile = $(PYTHON3) -m compileall -q --invalidation-mode unchecked-hash -d $(1) $(2)
else
runtimes_compile = :
endif

# The folders are replaced as a whole: their times tell fnrun that its copy is old.
# They are prerequisites for the case of a file that was removed.
runtimes/stamp: $(runtimes_python_sources) $(runtimes_node_sources) \
		$(srcdir)/images/runtimes/python $(srcdir)/images/runtimes/node
	$(AM_V_GEN)rm -rf runtimes/new
	$(AM_V_at)$(MKDIR_P) runtimes/new/python runtimes/new/node
	$(AM_V_at)$(INSTALL_DATA) $(runtimes_python_sources) runtimes/new/python
	$(AM_V_at)$(INSTALL_DATA) $(runtimes_node_sources) runtimes/new/node
	$(AM_V_at)$(call runtimes_compile,/var/runtime/python,runtimes/new/python)
	$(AM_V_at)rm -rf runtimes/python runtimes/node
	$(AM_V_at)mv runtimes/new/python runtimes/new/node runtimes && rmdir runtimes/new
	$(AM_V_at)touch $@

all-local: runtimes/stamp

# Installed copies are new files (rm first) in new folders, for the same reason.
install-exec-local: runtimes/stamp
	$(MKDIR_P) '$(DESTDIR)$(runtimesdir)'
	rm -rf '$(DESTDIR)$(runtimesdir)/python' '$(DESTDIR)$(runtimesdir)/node'
	$(MKDIR_P) '$(DESTDIR)$(runtimesdir)/python' '$(DESTDIR)$(runtimesdir)/node'
	$(INSTALL_DATA) runtimes/python/*.py '$(DESTDIR)$(runtimesdir)/python'
	$(INSTALL_DATA) runtimes/node/*js '$(DESTDIR)$(runtimesdir)/node'
	if test -d runtimes/python/__pycache__; then \
	    $(MKDIR_P) '$(DESTDIR)$(runtimesdir)/python/__pycache__' && \
	    $(INSTALL_DATA) runtimes/python/__pycache__/*.pyc \
	        '$(DESTDIR)$(runtimesdir)/python/__pycache__'; \
	fi

# The native loader is removed by automake's own rule, empty folders after that.
uninstall-local:
	rm -rf '$(DESTDIR)$(runtimesdir)/python' '$(DESTDIR)$(runtimesdir)/node'

uninstall-hook:
	for d in '$(runtimesnativedir)' '$(runtimesdir)' '$(pkglibexecdir)'; do \
	    rmdir "$(DESTDIR)$$d" 2>/dev/null || :; \
	done

mostlyclean-local:
	rm -rf runtimes/python runtimes/node runtimes/new
