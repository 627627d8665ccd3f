# The seccomp filters: made by a program that runs on the building machine, where
# libseccomp knows the numbers of both architectures. The second file, whose jumps
# are kept short, is for the unit test: the rules would have to double before the
# real one needs a long jump.
filter_generate = isolate/filter_generate-for-build
filter_sources = $(srcdir)/isolate/filter_generate.c $(srcdir)/isolate/filter_rules.h $(srcdir)/isolate/gate.h

$(filter_generate): $(filter_sources)
	$(AM_V_GEN)$(MKDIR_P) isolate && $(CC_FOR_BUILD) -std=gnu17 -D_GNU_SOURCE -O1 -Wall -Wextra \
		-I$(srcdir) $(SECCOMP_CFLAGS) $(srcdir)/isolate/filter_generate.c -o $@ $(SECCOMP_LIBS)

isolate/filter_data.h: $(filter_generate)
	$(AM_V_GEN)$(filter_generate) filter_program > $@.new && mv $@.new $@
isolate/filter_data_short.h: $(filter_generate)
	$(AM_V_GEN)$(filter_generate) filter_short 20 > $@.new && mv $@.new $@

# For a make of one program, which does not look at BUILT_SOURCES.
isolate/filter.$(OBJEXT) isolate/fnrun_once-filter.$(OBJEXT) isolate/fnrun_keeper-filter.$(OBJEXT): \
	isolate/filter_data.h
tests/unit/test_filter.$(OBJEXT) tests/unit/test_filter_zygote.$(OBJEXT): \
	isolate/filter_data.h isolate/filter_data_short.h

BUILT_SOURCES += isolate/filter_data.h isolate/filter_data_short.h
CLEANFILES += $(filter_generate) isolate/filter_data.h isolate/filter_data_short.h \
	isolate/filter_data.h.new isolate/filter_data_short.h.new
EXTRA_DIST += isolate/filter_generate.c isolate/filter_rules.h tests/unit/bpf_simulate.h tests/unit/filter_oracle.h \
	tests/unit/filter_ask.h isolate/gate.h
