/* fnrun-launcher: see launcher.h. Starts, finds out whether environments can be made here,
 * says so, and goes into its loop. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "images/host.h"
#include "isolate/launcher_loop.h"

#define MANY_FILES 1048576

static int usage(void) {
    fprintf(stderr, "usage: fnrun-launcher STORE RUN_DIR RUNTIMES [CGROUP [KEEPER]]\n"
                    "It is started by fnrund, with the socket to it as descriptor 3.\n");
    return 2;
}

/* Who starts it may have left anything open, blocked or ignored. */
static void settle(void) {
    sigset_t none;
    int null = open("/dev/null", O_RDWR);
    while (null >= 0 && null < 3) /* 0, 1 and 2 are somebody's */
        null = dup(null);
    syscall(SYS_close_range, LAUNCHER_SOCKET_FD + 1, ~0U, 0);
    fcntl(LAUNCHER_SOCKET_FD, F_SETFD, FD_CLOEXEC);
    umask(022);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_DFL);
    /* Those of a terminal, and of a service manager that ends the whole control group, are the
     * runner's business: it finishes what is in flight and ends, and then this does. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

/* Each environment takes a few descriptors here, and its keeper inherits the limit. */
static void raise_files(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    struct rlimit more = {MANY_FILES, MANY_FILES};
    if (files.rlim_max < MANY_FILES && setrlimit(RLIMIT_NOFILE, &more) == 0)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* Beside this program, whatever its name and place. */
static int open_keeper(const char *named, struct error *err) {
    char path[600] = "";
    if (named) {
        snprintf(path, sizeof path, "%s", named);
    } else {
        ssize_t length = readlink("/proc/self/exe", path, 500);
        char *last = length > 0 ? strrchr(path, '/') : NULL;
        if (!last)
            return error_set(err, -ENOENT, "/proc/self/exe cannot be read: is /proc mounted?");
        snprintf(last, sizeof path - (size_t)(last - path), "/fnrun-keeper");
    }
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return error_set(err, -ENOENT, "%s is missing: make, or make install", path);
    }
    return fd;
}

static int find_ids(struct idmap *ids, struct error *err) {
    int r = idmap_find(ids, err);
    if (r < 0)
        return r;
    if (ids->kind == IDMAP_SINGLE)
        return error_set(err, -EOPNOTSUPP,
                         "the daemon needs ids of its own for each slot, and this user has one: %s",
                         ids->why_single);
    if (idmap_environment_blocks(ids) == 0)
        return error_set(err, -EOPNOTSUPP,
                         "the user's range in /etc/subuid and /etc/subgid is too small: 2048 ids "
                         "serve one environment, 65536 serve 63: sudo usermod --add-subuids "
                         "100000-165535 --add-subgids 100000-165535 USER");
    return 0;
}

/* Makes the run directory, and removes what a killed launcher left. With v2 that may move
 * this process (and the runner) out of such a leftover: so before cgroup_find. */
static int sweep(const struct launcher_setup *setup, struct error *err) {
    struct claim claim;
    /* Twice: a launcher's leaf can be removed only after its environments' groups. */
    for (int i = 0; i < 2; i++) {
        int r = claim_take(&claim, setup->run_dir, idmap_environment_blocks(&setup->ids), err);
        if (r < 0)
            return r;
        claim_release(&claim);
    }
    return 0;
}

static int find_groups(struct cgroup_layout *layout, const char *below, struct error *err) {
    int r = below ? cgroup_find_below(layout, below, err) : cgroup_find(layout, err);
    /* With v2 the runner mostly stands in the same group, and leaves it with this process. */
    layout->companion = getppid();
    return r < 0 ? r : launcher_groups_usable(layout, err);
}

/* That there will be an image and a store. */
static int try_folders(const struct launcher_setup *setup, struct error *err) {
    char path[512];
    struct stat st;
    int r = host_image_open(setup->run_dir, setup->runtimes, path, sizeof path, err);
    if (r < 0)
        return r;
    close(r);
    snprintf(path, sizeof path, "%s/versions", setup->store);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, -ENOENT, "the store has no folder %s", path);
    return 0;
}

/* Everything an environment will need, found before the first one is asked for. */
static int prepare(struct launcher_setup *setup, int argc, char **argv, struct error *err) {
    const char *group = argc > 4 && argv[4][0] ? argv[4] : NULL;
    for (int i = 1; i < 4; i++)
        if (argv[i][0] != '/')
            return error_set(err, -EINVAL, "%s is not an absolute path", argv[i]);
    setup->store = argv[1];
    setup->run_dir = argv[2];
    setup->runtimes = argv[3];
    setup->launcher = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (setup->launcher < 0)
        return error_set(err, -errno, "pidfd_open: %s. The kernel may be too old", strerror(errno));
    int r = setup->keeper = open_keeper(argc > 5 ? argv[5] : NULL, err);
    if (r >= 0)
        r = find_ids(&setup->ids, err);
    if (r == 0)
        r = sweep(setup, err);
    if (r == 0)
        r = find_groups(&setup->layout, group, err);
    return r < 0 ? r : try_folders(setup, err);
}

/* With v2 the group that this process is in can have groups below it only once it has left
 * for a leaf, which has a claim of its own: so it is swept when this process is killed. */
static int step_aside(const struct launcher_setup *setup, struct claim *claim, struct cgroup *base,
                      struct error *err) {
    char name[64], lines[CLAIM_RECORD];
    if (!cgroup_on_v2(&setup->layout))
        return 0;
    int r = claim_take(claim, setup->run_dir, idmap_environment_blocks(&setup->ids), err);
    if (r < 0)
        return r;
    snprintf(name, sizeof name, "fnrun-%u-%u-%08x", (unsigned)geteuid(), claim->block, claim->book);
    r = cgroup_paths(&setup->layout, name, lines, sizeof lines);
    if (r < 0)
        return error_set(err, r, "the paths of the control groups are too long");
    r = claim_record(claim, lines, err);
    return r < 0 ? r : cgroup_step_aside(base, &setup->layout, name, err);
}

static int hello(const struct launcher_setup *setup, int code, const struct error *err) {
    struct launcher_message message = {.op = LAUNCHER_HELLO, .code = code, .pid = getpid()};
    if (code < 0)
        snprintf(message.text, sizeof message.text, "%.*s", (int)sizeof message.text - 1,
                 err->message);
    else
        snprintf(message.text, sizeof message.text, "%s; control groups v%d",
                 idmap_kind_text(setup->ids.kind), cgroup_on_v2(&setup->layout) ? 2 : 1);
    return launcher_say(&message);
}

int main(int argc, char **argv) {
    static struct launcher_setup setup;
    struct claim claim = {.fd = -EBADF};
    struct cgroup base = {0};
    struct error err = {0};
    struct stat st;
    if (argc < 4 || argc > 6 || fstat(LAUNCHER_SOCKET_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
        return usage();
    settle();
    raise_files();
    int r = prepare(&setup, argc, argv, &err);
    if (r == 0)
        r = step_aside(&setup, &claim, &base, &err);
    if (hello(&setup, r, &err) == 0 && r == 0) {
        fcntl(LAUNCHER_SOCKET_FD, F_SETFL, O_NONBLOCK);
        r = launcher_loop(&setup);
    }
    if (cgroup_remove(&base, NULL) == 0)
        claim_release(&claim);
    return r < 0;
}
