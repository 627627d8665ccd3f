/* fnrund: the daemon. main puts the parts together in their order, runs the loop, and takes
 * them apart again. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/monotonic.h"
#include "isolate/prompt.h"
#include "runner/api.h"
#include "runner/delegate.h"
#include "runner/deploy_answer.h"
#include "runner/fnrund_args.h"
#include "runner/http.h"
#include "runner/launch.h"
#include "runner/listen.h"
#include "runner/outcome.h"
#include "runner/pool.h"
#include "runner/privileges.h"
#include "runner/registry.h"
#include "runner/settings.h"
#include "runner/state.h"
#include "runner/store.h"

#define SECOND        UINT64_C(1000000) /* us */
#define KEEP_VERSIONS 10                /* of a function, for rolling back */

/* How long answers that are ready may take to be sent when all else is done. */
#define LAST_ANSWERS (1 * SECOND)
#define LAST_LOOK    (5 * SECOND / 1000)

struct daemon {
    struct fnrund_args args;
    struct settings settings;
    struct identity identity;
    struct listening listening;
    struct launch launch;
    sd_event *loop;
    struct state *state;
    struct pools *pools;
    struct registry *registry;
    struct http *http;
    struct api api;

    sd_event_source *stop_deadline;
    bool stopping, finishing;
    uint64_t finish_until; /* us, CLOCK_MONOTONIC */
    int status;            /* to exit with */
};

static void say(const char *text) {
    fprintf(stderr, "fnrund: %s\n", text);
}

/* --- settings --------------------------------------------------------------------------------- */

/* A path of the command line instead; a relative one is the working directory's. */
static int replace(char **text, const char *path) {
    char folder[PATH_MAX] = "", *copy;
    if (!path)
        return 0;
    if (path[0] != '/' && !getcwd(folder, sizeof folder))
        return -errno;
    if (asprintf(&copy, "%s%s%s", folder, folder[0] ? "/" : "", path) < 0)
        return -ENOMEM;
    free(*text);
    *text = copy;
    return 0;
}

/* fnrun.ini and what the command line says over it. Prints what is wrong. Returns 0 or the exit
 * status. */
static int load_settings(const struct fnrund_args *args, struct settings *settings) {
    struct config_problems problems = {0};
    struct error err = {0};
    int r = settings_load(args->config, settings, &problems, &err);
    int status = 0;
    if (problems.count) {
        config_problems_print(&problems, stderr);
        fprintf(stderr, "fnrund: %zu problem%s in its configuration\n", problems.count,
                problems.count == 1 ? "" : "s");
        status = EXIT_REFUSED;
    } else if (r < 0) {
        say(err.message);
        status = r == -ENOMEM ? EXIT_SERVICE : EXIT_REFUSED;
    } else if (replace(&settings->socket, args->socket) < 0 ||
               replace(&settings->store, args->store) < 0) {
        say("out of memory, or the working directory is not known");
        status = EXIT_SERVICE;
    }
    config_problems_free(&problems);
    return status;
}

static int reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct daemon *daemon = userdata;
    struct settings next = {0};
    char text[512] = "";
    (void)source;
    (void)info;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)monotonic_us());
    if (load_settings(&daemon->args, &next) == 0) {
        settings_reload(&daemon->settings, &next, text, sizeof text);
        registry_reload(daemon->registry);
        fprintf(stderr, "fnrund: configuration read again%s%s\n",
                text[0] ? "; what changed and needs a restart: " : "", text);
    } else {
        say("the configuration stays as it was");
    }
    settings_free(&next);
    sd_notify(0, "READY=1");
    return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Every call is answered; the answers may still have to be sent. */
static int look_whether_sent(sd_event_source *source, uint64_t time, void *userdata) {
    struct daemon *daemon = userdata;
    (void)time;
    if (!http_open_requests(daemon->http) || monotonic_us() >= daemon->finish_until) {
        sd_event_exit(daemon->loop, daemon->status);
        return 0;
    }
    sd_event_source_set_time(source, monotonic_us() + LAST_LOOK);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

static void finish(struct daemon *daemon) {
    if (daemon->finishing)
        return;
    daemon->finishing = true;
    daemon->finish_until = monotonic_us() + LAST_ANSWERS;
    if (sd_event_add_time(daemon->loop, NULL, CLOCK_MONOTONIC, monotonic_us(), 1, look_whether_sent,
                          daemon) < 0)
        sd_event_exit(daemon->loop, daemon->status);
}

static void drained(void *owner) {
    struct daemon *daemon = owner;
    daemon->stop_deadline = sd_event_source_disable_unref(daemon->stop_deadline);
    finish(daemon);
}

static void cut_off(struct daemon *daemon) {
    fprintf(stderr, "fnrund: cutting off what still runs (%zu requests open)\n",
            http_open_requests(daemon->http));
    pools_kill(daemon->pools);
    finish(daemon);
}

static int stop_deadline_passed(sd_event_source *source, uint64_t time, void *userdata) {
    (void)source;
    (void)time;
    cut_off(userdata);
    return 0;
}

static int stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct daemon *daemon = userdata;
    (void)source;
    if (daemon->stopping) { /* asked twice: somebody is in a hurry */
        if (!daemon->finishing)
            cut_off(daemon);
        return 0;
    }
    fprintf(stderr, "fnrund: asked to stop (SIG%s), %zu requests open\n",
            sigabbrev_np((int)info->ssi_signo), http_open_requests(daemon->http));
    sd_notify(0, "STOPPING=1");
    daemon->stopping = true;
    daemon->api.stopping = true;
    http_stop_accepting(daemon->http);
    if (sd_event_add_time_relative(daemon->loop, &daemon->stop_deadline, CLOCK_MONOTONIC,
                                   daemon->settings.stop_ms * 1000, 1, stop_deadline_passed,
                                   daemon) < 0)
        cut_off(daemon);
    else
        registry_drain(daemon->registry, drained, daemon);
    return 0;
}

/* No environment lives without the launcher, and nobody but root can make another one: every
 * call has been answered by the pools, and the service manager starts fnrund again. */
static void launcher_lost(void *owner) {
    struct daemon *daemon = owner;
    if (daemon->finishing)
        return;
    say("the launcher is gone, and every environment with it: ending, to be started again");
    sd_notify(0, "STOPPING=1");
    daemon->status = EXIT_SERVICE;
    daemon->stopping = true;
    daemon->api.stopping = true;
    if (daemon->http) {
        http_stop_accepting(daemon->http);
        finish(daemon);
    } else {
        sd_event_exit(daemon->loop, daemon->status);
    }
}

/* --- regular work ----------------------------------------------------------------------------- */

static void again_in(sd_event_source *source, uint64_t us) {
    sd_event_source_set_time(source, monotonic_us() + us);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int flush_usage(sd_event_source *source, uint64_t time, void *userdata) {
    struct daemon *daemon = userdata;
    struct error err = {0};
    (void)time;
    if (state_flush(daemon->state, &err) < 0)
        fprintf(stderr, "fnrund: usage records cannot be written: %s\n", err.message);
    again_in(source, SECOND);
    return 0;
}

static int tidy_up(sd_event_source *source, uint64_t time, void *userdata) {
    struct daemon *daemon = userdata;
    struct error err = {0};
    (void)time;
    if (state_forget_usage(daemon->state, daemon->settings.usage_days, &err) < 0)
        fprintf(stderr, "fnrund: old usage records cannot be removed: %s\n", err.message);
    int r = registry_sweep(daemon->registry, KEEP_VERSIONS, &err);
    if (r < 0 && r != -EAGAIN)
        fprintf(stderr, "fnrund: old versions cannot be removed: %s\n", err.message);
    again_in(source, 3600 * SECOND);
    return 0;
}

/* --- the start: steps in their order ---------------------------------------------------------- */

/* Descriptors 0, 1 and 2 must be something, or a socket would land there. */
static void hold_standard_descriptors(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

static void raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* While fnrund is what it was started as: store, launcher, socket. Then it is what it stays. */
static int privileged_part(struct daemon *daemon, struct error *err) {
    const struct settings *settings = &daemon->settings;
    gid_t group = daemon->identity.gid;
    if (settings->group) {
        int r = privileges_group(settings->group, &group, err);
        if (r < 0)
            return r;
        daemon->api.group = group;
    }
    int r = store_make(settings->store, &daemon->identity, err);
    if (r == 0)
        r = listen_open(&daemon->listening, settings->socket, settings->mode, daemon->identity.uid,
                        group, err);
    if (r == 0 && !settings->cgroup)
        r = delegate_self(err);
    if (r == 0)
        r = launch_start(&daemon->launch, settings->store, settings->cgroup, err);
    if (r == 0 && daemon->identity.drop)
        r = listen_guard(&daemon->listening, err);
    return r < 0 ? r : privileges_drop(&daemon->identity, err);
}

/* Blocked before any thread is made, so that none but the loop takes them. SIGCHLD too: the loop
 * waits for helpers. */
static int block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

static int loop_part(struct daemon *daemon, struct error *err) {
    int r = block_signals();
    prompt_be();
    if (r == 0)
        r = sd_event_new(&daemon->loop);
    if (r >= 0)
        r = sd_event_add_signal(daemon->loop, NULL, SIGTERM, stop, daemon);
    if (r >= 0)
        r = sd_event_add_signal(daemon->loop, NULL, SIGINT, stop, daemon);
    if (r >= 0)
        r = sd_event_add_signal(daemon->loop, NULL, SIGHUP, reload, daemon);
    return r < 0 ? error_set(err, r, "no event loop: %s", strerror(-r)) : 0;
}

static int timers_part(struct daemon *daemon, struct error *err) {
    sd_event_source *flush = NULL, *tidy = NULL;
    int r = sd_event_add_time(daemon->loop, &flush, CLOCK_MONOTONIC, monotonic_us() + SECOND,
                              SECOND / 10, flush_usage, daemon);
    if (r >= 0)
        r = sd_event_add_time(daemon->loop, &tidy, CLOCK_MONOTONIC, monotonic_us() + 60 * SECOND,
                              SECOND, tidy_up, daemon);
    if (r < 0)
        return error_set(err, r, "no timer: %s", strerror(-r));
    sd_event_source_set_floating(flush, 1);
    sd_event_source_set_floating(tidy, 1);
    sd_event_source_unref(flush);
    sd_event_source_unref(tidy);
    return 0;
}

static int start(struct daemon *daemon, struct error *err) {
    int r = privileges_find(daemon->settings.user, &daemon->identity, err);
    if (r == 0)
        r = privileged_part(daemon, err);
    if (r == 0)
        r = loop_part(daemon, err);
    if (r == 0)
        r = state_open(daemon->settings.store, &daemon->state, err);
    if (r == 0)
        r = state_sweep(daemon->state, KEEP_VERSIONS, err);
    if (r == 0) {
        int socket = daemon->launch.socket;
        daemon->launch.socket = -EBADF;
        daemon->pools =
            pools_new(daemon->loop, socket, daemon->settings.memory, launcher_lost, daemon, err);
        r = daemon->pools ? 0 : err->code;
    }
    if (r == 0)
        r = registry_open(daemon->loop, daemon->pools, daemon->state, &daemon->settings,
                          &daemon->registry, err);
    if (r < 0)
        return r;
    daemon->api.loop = daemon->loop;
    daemon->api.registry = daemon->registry;
    daemon->api.state = daemon->state;
    daemon->api.settings = &daemon->settings;
    int fd = daemon->listening.fd;
    daemon->listening.fd = -EBADF;
    daemon->http = http_new(daemon->loop, fd, &api_handler, &daemon->api, err);
    return daemon->http ? timers_part(daemon, err) : err->code;
}

/* --- and its reverse -------------------------------------------------------------------------- */

static void take_apart(struct daemon *daemon) {
    struct error err = {0};
    if (daemon->pools)
        pools_kill(daemon->pools); /* nothing, unless the loop itself failed */
    http_free(daemon->http);
    /* Before the launcher ends: with it goes the control group that all of this may be in. */
    listen_remove(&daemon->listening);
    if (daemon->pools)
        pools_free(daemon->pools);
    registry_free(daemon->registry);
    if (daemon->state && state_flush(daemon->state, &err) < 0)
        fprintf(stderr, "fnrund: the last usage records are lost: %s\n", err.message);
    if (daemon->state)
        state_close(daemon->state);
    /* Its socket is closed: the launcher removes what it made, and ends. */
    if (daemon->launch.socket >= 0)
        close(daemon->launch.socket);
    if (daemon->launch.pid > 0 && launch_wait(&daemon->launch) == -ETIMEDOUT)
        fprintf(stderr, "fnrund: the launcher (process %d) does not end\n",
                (int)daemon->launch.pid);
    if (daemon->listening.fd >= 0)
        close(daemon->listening.fd);
    sd_event_unref(daemon->loop);
}

static int serve(struct daemon *daemon) {
    struct error err = {0};
    int r = start(daemon, &err);
    if (r < 0) {
        say(err.message);
        daemon->status = EXIT_SERVICE;
    } else {
        fprintf(stderr, "fnrund " PACKAGE_VERSION ": serving as %s on %s; store %s; %s\n",
                daemon->identity.name, daemon->listening.path, daemon->settings.store,
                daemon->launch.hello);
        sd_notify(0, "READY=1");
        r = sd_event_loop(daemon->loop);
        if (r < 0) {
            fprintf(stderr, "fnrund: the event loop failed: %s\n", strerror(-r));
            daemon->status = EXIT_SERVICE;
        }
    }
    take_apart(daemon);
    if (daemon->stopping)
        say(daemon->status ? "ended: its launcher was lost" : "stopped");
    return daemon->status;
}

int main(int argc, char *argv[]) {
    struct daemon daemon = {.listening = {.fd = -EBADF, .remover = -EBADF},
                            .launch = {.socket = -EBADF},
                            .api = {.group = (gid_t)-1}};
    struct error err = {0};
    hold_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored by the caller, helpers leave no status */
    if (fnrund_args_parse(argc, argv, &daemon.args, &err) < 0) {
        say(err.message);
        return EXIT_USAGE;
    }
    if (daemon.args.help) {
        fnrund_args_print_help(stdout);
        return fflush(stdout) == 0 ? 0 : EXIT_SERVICE;
    }
    if (daemon.args.version) {
        puts("fnrund " PACKAGE_VERSION);
        return fflush(stdout) == 0 ? 0 : EXIT_SERVICE;
    }
    int status = load_settings(&daemon.args, &daemon.settings);
    if (status == 0 && daemon.args.check_config) {
        puts("nothing is wrong with the configuration");
        status = fflush(stdout) == 0 ? 0 : EXIT_SERVICE;
    } else if (status == 0) {
        raise_open_files();
        status = serve(&daemon);
    }
    settings_free(&daemon.settings);
    return status;
}
