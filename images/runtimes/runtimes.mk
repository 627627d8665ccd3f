# The language side of each runtime, staged in runtimes/ as it is installed:
# fnrun-once finds it in the folder of its own executable in both places.
#
#     runtimes/python/       sources and their compiled form; _gate, an extension module
#     runtimes/node/
#     runtimes/native/       fnrun-native, which loads a shared object

runtimes_python_sources = $(wildcard $(srcdir)/images/runtimes/python/*.py)
runtimes_node_sources = $(wildcard $(srcdir)/images/runtimes/node/*.*js)
runtimesdir = $(pkglibexecdir)/runtimes

EXTRA_DIST += $(runtimes_python_sources) $(runtimes_node_sources)
EXTRA_DIST += images/runtimes/python/gate.c images/runtimes/gate_client.h images/runtimes/language_client.h isolate/gate.h
CLEANFILES += runtimes/stamp runtimes/_gate.abi3.so

# Runs user code: always dynamic, and never with sanitizers, whose reserved memory
# and own allocator would be the function's.
runtimesnativedir = $(runtimesdir)/native
runtimesnative_PROGRAMS = runtimes/native/fnrun-native
runtimes_native_fnrun_native_SOURCES = images/runtimes/native/loader.c images/runtimes/native/fnrun.h \
	images/runtimes/native/answer.c images/runtimes/native/answer.h \
	images/runtimes/native/request.c images/runtimes/native/request.h \
	images/runtimes/native/frames.c images/runtimes/native/frames.h \
	images/runtimes/native/collapse.c images/runtimes/native/collapse.h \
	images/runtimes/native/zygote.c images/runtimes/native/zygote.h \
	images/runtimes/gate_client.h isolate/gate.h
runtimes_native_fnrun_native_CFLAGS = $(FNRUN_CFLAGS)
# Bound when it starts: what was bound later would be bound anew for every event.
runtimes_native_fnrun_native_LDFLAGS = -Wl,-z,now
runtimes_native_fnrun_native_LDADD = -ldl

# Loaded into whatever interpreter an image has: the limited API, no symbol of libc, no
# sanitizers. Without Python's headers functions in python are not forked.
python_gate_cflags := $(shell $(PKG_CONFIG) --cflags python3 2>/dev/null)
python_gate = $(if $(strip $(python_gate_cflags)),runtimes/_gate.abi3.so)
runtimes/_gate.abi3.so: $(srcdir)/images/runtimes/python/gate.c \
		$(srcdir)/images/runtimes/gate_client.h $(srcdir)/images/runtimes/language_client.h \
		$(srcdir)/isolate/gate.h $(srcdir)/isolate/launcher.h
	$(AM_V_at)$(MKDIR_P) runtimes
	$(AM_V_CC)$(CC) $(FNRUN_CFLAGS) $(CFLAGS) -fno-stack-protector -ffreestanding -fPIC \
	    -DPy_LIMITED_API=0x03080000 $(python_gate_cflags) -I$(srcdir) \
	    -shared -nostdlib -o $@ $(srcdir)/images/runtimes/python/gate.c

# Compiled files carry no times and are not checked against their sources: the place
# they are in cannot be written, and the sources' times differ in every copy.
if HAVE_PYTHON3
runtimes_compile = $(PYTHON3) -m compileall -q --invalidation-mode unchecked-hash -d $(1) $(2)
else
runtimes_compile = :
endif

# The folders are replaced as a whole: their times tell fnrun that its copy is old.
# They are prerequisites for the case of a file that was removed.
runtimes/stamp: $(runtimes_python_sources) $(runtimes_node_sources) $(python_gate) \
		$(srcdir)/images/runtimes/python $(srcdir)/images/runtimes/node
	$(AM_V_GEN)rm -rf runtimes/new
	$(AM_V_at)$(MKDIR_P) runtimes/new/python runtimes/new/node
	$(AM_V_at)$(INSTALL_DATA) $(runtimes_python_sources) $(python_gate) runtimes/new/python
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
	$(INSTALL_DATA) runtimes/python/*.py $(python_gate) '$(DESTDIR)$(runtimesdir)/python'
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
