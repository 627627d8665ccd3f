#include "cli/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cgroup.h"
#include "isolate/cleanup.h"
#include "isolate/monotonic.h"

#define SERVICE "org.freedesktop.systemd1"
#define OBJECT  "/org/freedesktop/systemd1"
#define MANAGER SERVICE ".Manager"

#define WAYS_OUT "ways out: " CGROUP_WAYS_OUT

static void cleanup_bus(sd_bus **bus) {
    sd_bus_flush_close_unref(*bus);
}
static void cleanup_message(sd_bus_message **message) {
    sd_bus_message_unref(*message);
}
#define _cleanup_bus_     _cleanup_(cleanup_bus)
#define _cleanup_message_ _cleanup_(cleanup_message)
#define _cleanup_reason_  _cleanup_(sd_bus_error_free)

static const char *whose(void) {
    return geteuid() == 0 ? "the system's systemd" : "the user's own systemd";
}

/* The message of a failed call says more than its number, where there is one. */
static int failed(int r, const char *what, const sd_bus_error *reason, struct error *err) {
    return error_set(err, r, "%s %s: %s; %s", whose(), what,
                     reason && reason->message ? reason->message : strerror(-r), WAYS_OUT);
}

static int open_bus(sd_bus **bus, struct error *err) {
    int r = geteuid() == 0 ? sd_bus_open_system(bus) : sd_bus_open_user(bus);
    if (r >= 0)
        return 0;
    /* Without XDG_RUNTIME_DIR libsystemd says ENOMEDIUM, "No medium found". */
    const char *why = r == -ENOMEDIUM
                          ? "no user bus (XDG_RUNTIME_DIR is unset: log in rather than use su)"
                          : strerror(-r);
    return error_set(err, -ENOTCONN, "%s cannot be reached: %s; %s", whose(), why, WAYS_OUT);
}

/* --- the job --------------------------------------------------------------- */

struct job {
    const char *path; /* of the job that was started */
    bool ended;
    char result[32]; /* "done", or how it failed */
};

static int job_removed(sd_bus_message *message, void *data, sd_bus_error *reason) {
    struct job *job = data;
    const char *path, *unit, *result;
    uint32_t id;
    (void)reason;
    if (sd_bus_message_read(message, "uoss", &id, &path, &unit, &result) < 0 || !job->path ||
        strcmp(path, job->path) != 0)
        return 0;
    snprintf(job->result, sizeof job->result, "%s", result);
    job->ended = true;
    return 0;
}

static int wait_for(sd_bus *bus, struct job *job, uint64_t deadline, struct error *err) {
    while (!job->ended) {
        int r = sd_bus_process(bus, NULL);
        if (r < 0)
            return failed(r, "hung up", NULL, err);
        if (r > 0)
            continue;
        uint64_t now = monotonic_us();
        if (now >= deadline)
            return failed(-ETIMEDOUT, "did not make a scope within 10 s", NULL, err);
        r = sd_bus_wait(bus, deadline - now);
        if (r < 0 && r != -EINTR)
            return failed(r, "hung up", NULL, err);
    }
    if (strcmp(job->result, "done") != 0)
        return error_set(err, -ECANCELED, "%s did not make a scope: its job ended as '%s'; %s",
                         whose(), job->result, WAYS_OUT);
    return 0;
}

/* The call itself. The controllers that limits need are asked for by name: Delegate=yes
 * would have systemd enable every one that there is, all the way up to the root. This
 * process goes into the scope as well: a scope whose only process dies just then was
 * never populated, so that systemd would wait for ever for it to become empty. The
 * last, empty array is for auxiliary units. */
static int build_call(sd_bus *bus, const char *unit, pid_t pid, sd_bus_message **call) {
    int r =
        sd_bus_message_new_method_call(bus, call, SERVICE, OBJECT, MANAGER, "StartTransientUnit");
    if (r < 0)
        return r;
    return sd_bus_message_append(*call, "ssa(sv)a(sa(sv))", unit, "fail", 4, /* properties: */
                                 "Description", "s", "fnrun: one invocation", "PIDs", "au", 2,
                                 (uint32_t)getpid(), (uint32_t)pid, "DelegateControllers", "as", 3,
                                 "memory", "pids", "cpu", "CollectMode", "s", "inactive-or-failed",
                                 0);
}

/* --- leftovers --------------------------------------------------------------- */

/* Whether nothing lives in the scope, and its process is gone: one that is just being
 * made is empty as well. */
static bool is_left(int parent, const char *name) {
    char path[320], text[64];
    int pid = 0, end = 0;
    if (sscanf(name, "fnrun-%d.scope%n", &pid, &end) != 1 || pid <= 0 || name[end] ||
        kill(pid, 0) == 0 || errno != ESRCH)
        return false;
    snprintf(path, sizeof path, "%s/cgroup.events", name);
    _cleanup_close_ int fd = openat(parent, path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0)
        return false;
    text[length] = 0;
    return strstr(text, "populated 0") != NULL;
}

/* Where a call and its fnrun-manage were both killed while the scope was being made, it
 * was never populated, and systemd goes on waiting for its end. Best effort: whoever
 * comes next tries again. */
static void sweep(sd_bus *bus) {
    struct cgroup_layout layout;
    if (cgroup_find(&layout, NULL) < 0 || !layout.unified[0])
        return;
    *strrchr(layout.own_unified, '/') = 0;
    _cleanup_closedir_ DIR *folder = opendir(layout.own_unified);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (is_left(dirfd(folder), entry->d_name))
            sd_bus_call_method(bus, SERVICE, OBJECT, MANAGER, "StopUnit", NULL, NULL, "ss",
                               entry->d_name, "replace");
}

/* --- a scope ------------------------------------------------------------------- */

static int ask(sd_bus *bus, pid_t pid, struct error *err) {
    _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
    _cleanup_reason_ sd_bus_error reason = SD_BUS_ERROR_NULL;
    struct job job = {0};
    char unit[48];
    uint64_t deadline = monotonic_us() + SCOPE_TIMEOUT_S * UINT64_C(1000000);

    /* Listen first: the job may end before the reply that names it has been read.
     * Signals that come meanwhile wait in the bus's queue until sd_bus_process. */
    int r =
        sd_bus_match_signal(bus, NULL, SERVICE, OBJECT, MANAGER, "JobRemoved", job_removed, &job);
    if (r < 0)
        return failed(r, "cannot be listened to", NULL, err);
    snprintf(unit, sizeof unit, "fnrun-%d.scope", (int)pid);
    r = build_call(bus, unit, pid, &call);
    if (r < 0)
        return failed(r, "cannot be asked for a scope", NULL, err);
    r = sd_bus_call(bus, call, SCOPE_TIMEOUT_S * UINT64_C(1000000), &reason, &reply);
    if (r < 0)
        return failed(r, "refused a scope", &reason, err);
    r = sd_bus_message_read(reply, "o", &job.path);
    if (r < 0)
        return failed(r, "gave an answer that is none", NULL, err);
    return wait_for(bus, &job, deadline, err);
}

int scope_make(pid_t pid, struct error *err) {
    _cleanup_bus_ sd_bus *bus = NULL;
    sigset_t ends, before;
    int r = open_bus(&bus, err);
    if (r < 0)
        return r;
    /* Ctrl-C reaches this process too: ended now, it would leave a scope that never
     * held a process. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, &before);
    r = ask(bus, pid, err);
    if (r == 0)
        sweep(bus);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

int scope_reachable(char *version, size_t size, struct error *err) {
    _cleanup_bus_ sd_bus *bus = NULL;
    _cleanup_reason_ sd_bus_error reason = SD_BUS_ERROR_NULL;
    _cleanup_free_ char *text = NULL;
    int r = open_bus(&bus, err);
    if (r < 0)
        return r;
    r = sd_bus_get_property_string(bus, SERVICE, OBJECT, MANAGER, "Version", &reason, &text);
    if (r < 0)
        return failed(r, "does not answer", &reason, err);
    snprintf(version, size, "%s", text);
    return 0;
}
