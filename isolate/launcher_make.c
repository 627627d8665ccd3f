/* Three processes make an environment. The launcher claims ids, makes groups and waits. The
 * builder, its child, puts the image together in a mount namespace of its own and clones the
 * third: the keeper, in the new user namespace and all others, a child of the launcher
 * (CLONE_PARENT), which becomes root there and starts its program. The image is thus
 * attached by somebody outside the keeper's user namespace, and nobody in there can undo
 * or write what was mounted read-only (mount_namespaces(7), "Restrictions").
 *
 * For root the builder is root of the machine. For an ordinary user it is in a user
 * namespace of its own, the only place where he may mount, and the keeper's is below that. */
#include "isolate/launcher_make.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "images/host.h"
#include "isolate/cgroup_backend.h"
#include "isolate/cleanup.h"
#include "isolate/hint.h"
#include "isolate/monotonic.h"
#include "isolate/root.h"
#include "isolate/sys.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define START_MS      10000 /* for all of the children's work; usually 5 */
#define KEEPER_NICE   (-5)
#define KEEPER_OOM    "-500"
#define FIRST_FREE_FD 16 /* descriptors are first copied to numbers above their places */

/* What the children know, from before they are forked. */
struct plan {
    const struct launcher_setup *setup;
    const struct launcher_make *request;
    struct launcher_groups *groups;
    uint32_t block;
    const char *root; /* the prepared root's path */
    int runner;       /* the keeper's descriptors */
    int socket;
    int group;     /* v2: the environment's, else -EBADF */
    int line;      /* to the launcher */
    int mapped[2]; /* a pipe: the builder tells the keeper that its ids are mapped */
    pid_t *keeper; /* in memory that all three share */
};

/* What a child says on the line: code < 0: it failed; 0: it wants its ids mapped. */
struct report {
    int code;
    char text[400]; /* with code: the step, or, when worded, the whole message */
    bool worded;
};

/* ---- what does not take a child ----------------------------------------------------------- */

/* A block of ids, and the groups that are named after it. */
static int make_groups(const struct launcher_setup *setup, const struct launcher_make *request,
                       struct environment *environment, struct error *err) {
    struct idmap_environment ids;
    char name[64], lines[CLAIM_RECORD];
    struct claim *claim = &environment->claim;
    int r = claim_take(claim, setup->run_dir, idmap_environment_blocks(&setup->ids), err);
    if (r < 0)
        return r;
    idmap_environment(&setup->ids, claim->block, &ids);
    snprintf(name, sizeof name, "fnrun-%u-%u-%08x", (unsigned)geteuid(), claim->block, claim->book);
    r = cgroup_paths(&setup->layout, name, lines, sizeof lines);
    if (r < 0)
        return error_set(err, r, "the paths of the control groups are too long");
    r = claim_record(claim, lines, err);
    return r < 0 ? r
                 : launcher_groups_make(&environment->groups, &setup->layout, name, request, &ids,
                                        err);
}

/* ---- the keeper, up to its program ------------------------------------------------------ */

/* In a child: reports the failure of a step and ends. */
__attribute__((noreturn)) static void give_up(const struct plan *plan, const char *step,
                                              long code) {
    struct report report = {.code = (int)code};
    size_t length = strnlen(step, sizeof report.text - 1);
    memcpy(report.text, step, length);
    sys_call6(SYS_sendto, plan->line, SYS_PTR(&report), sizeof report, MSG_NOSIGNAL, 0, 0);
    sys_call1(SYS_exit_group, 127);
    __builtin_unreachable();
}

/* The call, or the end of this child. */
#define MUST(step, call)                                                                           \
    __extension__({                                                                                \
        long r_ = (call);                                                                          \
        if (r_ < 0)                                                                                \
            give_up(plan, step, r_);                                                               \
        (int)r_;                                                                                   \
    })

/* The launcher dead means everything dead, even by kill -9. It may have died before the
 * line took effect: then its pidfd is readable. A change of ids clears the signal. */
static void watch_launcher(const struct plan *plan) {
    struct pollfd launcher = {.fd = plan->setup->launcher, .events = POLLIN};
    struct timespec now = {0, 0};
    sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (sys_call5(SYS_ppoll, SYS_PTR(&launcher), 1, SYS_PTR(&now), 0, 0) != 0)
        sys_call1(SYS_exit_group, 127);
}

/* What the launcher ignores or blocks would be inherited. The kernel's struct, not libc's. */
static void reset_signals(void) {
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } action = {0};
    uint64_t none = 0;
    for (int number = 1; number <= 64; number++)
        sys_call4(SYS_rt_sigaction, number, SYS_PTR(&action), 0, sizeof none);
    sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, SYS_PTR(&none), 0, sizeof none);
}

/* A keeper of many slots holds many descriptors; its functions get a limit of their own. */
static void set_limits(void) {
    struct {
        uint64_t soft, hard;
    } files, core = {0, 0};
    sys_call4(SYS_prlimit64, 0, RLIMIT_CORE, SYS_PTR(&core), 0);
    if (sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, SYS_PTR(&files)) == 0) {
        files.soft = files.hard;
        sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, SYS_PTR(&files), 0);
    }
}

/* KEEPER_RUNNER_FD, KEEPER_LAUNCHER_FD, KEEPER_CGROUP_FD, the line and the program, in this
 * order from 3 on; nothing else. The last two are closed by exec. */
static int take_descriptors(struct plan *plan) {
    int fds[] = {plan->runner, plan->socket, plan->group, plan->line, plan->setup->keeper};
    const int count = sizeof fds / sizeof *fds;
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            fds[i] = MUST("copying descriptors",
                          sys_call3(SYS_fcntl, fds[i], F_DUPFD_CLOEXEC, FIRST_FREE_FD));
    plan->line = fds[3];
    MUST("closing descriptors", sys_call3(SYS_close_range, 0, FIRST_FREE_FD - 1, 0));
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            MUST("placing descriptors",
                 sys_call3(SYS_dup3, fds[i], KEEPER_RUNNER_FD + i, i < 3 ? 0 : O_CLOEXEC));
    plan->line = KEEPER_RUNNER_FD + 3;
    MUST("closing descriptors", sys_call3(SYS_close_range, KEEPER_RUNNER_FD + count, ~0U, 0));
    return KEEPER_RUNNER_FD + 4;
}

/* The body of the clone: raw calls only, since libc knows nothing of it. It starts wherever
 * the stack was. */
#if defined(__x86_64__)
__attribute__((force_align_arg_pointer))
#endif
static int
run_keeper(void *argument) {
    struct plan *plan = argument;
    char *arguments[] = {"fnrun-keeper", NULL}, *environment[] = {NULL};
    char byte;
    reset_signals();
    /* Until then it has no id here. The end of the pipe: the builder failed and said why. */
    sys_call1(SYS_close, plan->mapped[1]);
    if (sys_call3(SYS_read, plan->mapped[0], SYS_PTR(&byte), 1) != 1)
        return 127;
    MUST("becoming root of the environment", sys_call3(SYS_setresgid, 0, 0, 0));
    MUST("dropping supplementary groups", sys_call2(SYS_setgroups, 0, 0));
    MUST("becoming root of the environment", sys_call3(SYS_setresuid, 0, 0, 0));
    watch_launcher(plan);
    sys_call5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    MUST("starting a session", sys_call0(SYS_setsid));
    set_limits();
    sys_call1(SYS_umask, 022);
    int program = take_descriptors(plan);
    MUST("starting fnrun-keeper", sys_call5(SYS_execveat, program, SYS_PTR(""), SYS_PTR(arguments),
                                            SYS_PTR(environment), AT_EMPTY_PATH));
    return 127;
}

/* ---- the builder --------------------------------------------------------------------------- */

/* As MUST, with the words of err. */
static void must(const struct plan *plan, int code, const struct error *err) {
    struct report report = {.code = code, .worded = true};
    if (code >= 0)
        return;
    snprintf(report.text, sizeof report.text, "%.*s", (int)sizeof report.text - 1, err->message);
    send(plan->line, &report, sizeof report, MSG_NOSIGNAL);
    _exit(127);
}

/* v1: this process moves itself, and the keeper is born there. (Moving another by its
 * number takes 7 to 18 ms.) v2: see clone_keeper. */
static void enter_groups(const struct plan *plan) {
    const struct cgroup *all = &plan->groups->all;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (all->tasks[i] >= 0)
            MUST("entering the control group",
                 sys_call3(SYS_write, all->tasks[i], SYS_PTR("0"), 1));
}

/* A mount namespace in which this process may mount, and from which nothing shows outside. */
static void enter_namespaces(const struct plan *plan, bool privileged) {
    struct report wish = {.code = 0};
    char answer;
    if (privileged) {
        MUST("making a mount namespace", sys_call1(SYS_unshare, CLONE_NEWNS));
        MUST("making the mounts private",
             sys_call5(SYS_mount, 0, SYS_PTR("/"), 0, MS_REC | MS_PRIVATE, 0));
        return;
    }
    MUST("making a user and mount namespace", sys_call1(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS));
    MUST("asking for ids",
         sys_call6(SYS_sendto, plan->line, SYS_PTR(&wish), sizeof wish, MSG_NOSIGNAL, 0, 0));
    if (recv(plan->line, &answer, 1, 0) != 1)
        _exit(127);
}

/* STORE/versions/DIGEST, or the file in it. The store is the runner's to write: no link in
 * it leads anywhere. Opened in this mount namespace, or it could not be cloned from. */
static int open_version(const struct plan *plan) {
    const struct launcher_make *request = plan->request;
    char path[256];
    struct error err;
    struct stat st;
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    bool is_file = request->task_file[0];
    snprintf(path, sizeof path, "versions/%s%s%s", request->digest, is_file ? "/" : "",
             request->task_file);
    int store =
        MUST("opening the store", sys_call4(SYS_openat, AT_FDCWD, SYS_PTR(plan->setup->store),
                                            O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    long task = sys_call4(SYS_openat2, store, SYS_PTR(path), SYS_PTR(&how), sizeof how);
    if (task < 0)
        must(plan, (int)task,
             (error_set(&err, (int)task, "%s/%s cannot be opened: %s", plan->setup->store, path,
                        strerror((int)-task)),
              &err));
    if (fstat((int)task, &st) < 0 || !(is_file ? S_ISREG(st.st_mode) : S_ISDIR(st.st_mode)))
        must(plan, -EINVAL,
             (error_set(&err, -EINVAL, "%s/%s is not a %s", plan->setup->store, path,
                        is_file ? "file" : "folder"),
              &err));
    return (int)task;
}

/* v2: a descriptor of the group that leads nowhere else: a mount of its own, made here
 * since an ordinary user may not outside. */
static void open_group(struct plan *plan) {
    char path[640];
    plan->group = -EBADF;
    if (plan->groups->all.into < 0)
        return;
    snprintf(path, sizeof path, "%s/%s", plan->groups->all.layout.own_unified,
             plan->groups->all.name);
    int tree = MUST("opening the control group", sys_call3(SYS_open_tree, AT_FDCWD, SYS_PTR(path),
                                                           1 /* OPEN_TREE_CLONE */ | O_CLOEXEC));
    plan->group =
        MUST("opening the control group",
             sys_call4(SYS_openat, tree, SYS_PTR("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    close(tree);
}

static bool has_devices(const char *prepared) {
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/dev/null", prepared);
    return lstat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

/* The image becomes /. */
static void enter_image(const struct plan *plan, bool privileged) {
    const char *step = "", *file = plan->request->task_file;
    char extra[ROOT_EXTRA][16];
    struct root_trees trees;
    struct root_spec spec = {
        .prepared = plan->root,
        .task_is_open = true,
        .task_fd = open_version(plan),
        .task_file = file[0] ? file : NULL,
        .extra = extra,
        .own_devices = privileged && has_devices(plan->root),
        .privileged = privileged,
        .machine_proc = true,
    };
    host_image_extra_mounts(extra);
    int r = root_open(&spec, &trees, &step);
    if (r < 0)
        give_up(plan, step, r);
    if (!privileged) {
        /* Not before the trees are open: the user's own folders may be his alone. What is
         * mounted from here on belongs to id 0. */
        MUST("becoming root of the builder's namespace", sys_call3(SYS_setresgid, 0, 0, 0));
        MUST("becoming root of the builder's namespace", sys_call3(SYS_setresuid, 0, 0, 0));
        watch_launcher(plan);
    }
    r = root_attach(&spec, &trees, &step);
    if (r == 0)
        r = root_pivot(&trees, &step);
    if (r < 0)
        give_up(plan, step, r);
}

/* What the keeper inherits; refused to most, and then left alone. */
static void prefer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, KEEPER_OOM, sizeof KEEPER_OOM - 1) < 0)
        (void)0;
    close(fd);
    setpriority(PRIO_PROCESS, 0, KEEPER_NICE);
}

/* The owner of a user namespace is the effective id of who made it, and has all capabilities
 * in it. That is to be the language zygote's id: root is nobody in there, and the keepers'
 * namespaces can be entered by that one process. The capabilities come back at once, since
 * some machines let nobody make a user namespace without them. */
static void become_owner(const struct plan *plan, uint32_t uid) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    MUST("becoming the environments' owner", sys_call3(SYS_setresuid, -1, uid, -1));
    MUST("keeping capabilities", sys_call2(SYS_capget, SYS_PTR(&head), SYS_PTR(sets)));
    for (int i = 0; i < 2; i++)
        sets[i].effective = sets[i].permitted;
    MUST("keeping capabilities", sys_call2(SYS_capset, SYS_PTR(&head), SYS_PTR(sets)));
    watch_launcher(plan);
}

static void clone_keeper(struct plan *plan) {
    struct sys_clone clone = {
        .flags = CLONE_PARENT | CLONE_PARENT_SETTID | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS |
                 CLONE_NEWIPC | CLONE_NEWUTS | (plan->request->host_network ? 0 : CLONE_NEWNET),
        .parent_tid = (uint64_t)(uintptr_t)plan->keeper,
    };
    if (plan->groups->all.into >= 0) {
        clone.flags |= CLONE_INTO_CGROUP;
        clone.cgroup = (uint64_t)plan->groups->all.into;
    }
    uint32_t uid, gid;
    idmap_language(&plan->setup->ids, &uid, &gid);
    if (plan->setup->ids.kind == IDMAP_RANGE)
        become_owner(plan, uid);
    MUST("making the environment's namespaces", sys_clone_child(&clone, run_keeper, plan));
    if (plan->setup->ids.kind == IDMAP_RANGE) {
        MUST("becoming root again", sys_call3(SYS_setresuid, -1, 0, -1));
        watch_launcher(plan);
    }
}

/* In order: each line needs what stands above it. */
__attribute__((noreturn)) static void run_builder(struct plan *plan) {
    bool privileged = geteuid() == 0;
    struct error err = {0};
    watch_launcher(plan);
    enter_groups(plan);
    if (pipe2(plan->mapped, O_CLOEXEC) < 0)
        give_up(plan, "making a pipe", -errno);
    enter_namespaces(plan, privileged);
    open_group(plan);
    enter_image(plan, privileged);
    prefer();
    clone_keeper(plan);
    /* Its /proc is the machine's: the keeper's number is the same as outside. */
    must(plan,
         privileged
             ? idmap_write_environment(&plan->setup->ids, plan->block, *plan->keeper,
                                       plan->request->slots + LAUNCHER_TRIAL, &err)
             : idmap_write_nested(*plan->keeper, plan->request->slots + LAUNCHER_TRIAL, &err),
         &err);
    _exit(write(plan->mapped[1], "", 1) == 1 ? 0 : 127);
}

/* ---- the launcher: waiting for them -------------------------------------------------------- */

static int word_failure(const struct report *report, struct error *err) {
    int length = (int)strnlen(report->text, sizeof report->text);
    if (report->worded)
        return error_set(err, report->code, "%.*s", length, report->text);
    return error_set(err, report->code, "%.*s: %s%s", length, report->text, strerror(-report->code),
                     hint(report->code));
}

/* Listens to the children until all have closed the line: the keeper's program has started,
 * or somebody failed. Rootless the first child asks for the maps of its user namespace. */
static int listen_to(struct plan *plan, int line, pid_t builder, struct error *err) {
    uint64_t until = monotonic_us() + START_MS * 1000ULL;
    for (;;) {
        struct pollfd ready = {.fd = line, .events = POLLIN};
        struct report report;
        uint64_t now = monotonic_us();
        int n = now < until ? poll(&ready, 1, (int)((until - now) / 1000) + 1) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, -ETIMEDOUT, "making the environment takes longer than %d s",
                             START_MS / 1000);
        ssize_t length = recv(line, &report, sizeof report, 0);
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return 0;
        if (length != sizeof report)
            return error_set(err, -EPROTO, "a child of the launcher reported nonsense");
        if (report.code < 0)
            return word_failure(&report, err);
        int r = idmap_write_environment(&plan->setup->ids, plan->block, builder,
                                        plan->request->slots + LAUNCHER_TRIAL, err);
        if (r < 0)
            return r;
        if (send(line, "", 1, MSG_NOSIGNAL) < 0)
            return error_set(err, -errno, "a child of the launcher is gone");
    }
}

static int reap(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    return status;
}

/* The builder and by it the keeper. Its number comes by a page that both share, written
 * by the kernel as it clones: no instant leaves a keeper that is not known here. */
static int run_children(struct plan *plan, pid_t *keeper, struct error *err) {
    int line[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) < 0)
        return error_set(err, -errno, "socketpair: %s", strerror(errno));
    plan->line = line[1];
    plan->keeper =
        mmap(NULL, sizeof *plan->keeper, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t builder = plan->keeper == MAP_FAILED ? -1 : fork();
    if (builder == 0)
        run_builder(plan);
    int r = builder < 0 ? error_set(err, -errno, "a process cannot be started: %s", strerror(errno))
                        : 0;
    close(line[1]);
    if (r == 0) {
        r = listen_to(plan, line[0], builder, err);
        if (r < 0)
            kill(builder, SIGKILL);
        int status = reap(builder);
        *keeper = *plan->keeper;
        if (r == 0 && (status || *keeper <= 0))
            r = error_set(err, -ECHILD, "a child of the launcher died (wait status %d)", status);
        if (r < 0 && *keeper > 0) {
            kill(*keeper, SIGKILL);
            reap(*keeper);
        }
    }
    if (plan->keeper != MAP_FAILED)
        munmap(plan->keeper, sizeof *plan->keeper);
    close(line[0]);
    return r;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int build(const struct launcher_setup *setup, const struct launcher_make *request,
                 int runner, struct environment *environment, struct error *err) {
    char root[512];
    int sockets[2];
    /* Ids first: the groups are named after the claim, and belong to its ids. */
    int r = make_groups(setup, request, environment, err);
    if (r < 0)
        return r;
    /* Anew for each environment: /etc may have changed. */
    r = environment->image =
        host_image_open(setup->run_dir, setup->runtimes, root, sizeof root, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return error_set(err, -errno, "socketpair: %s", strerror(errno));
    environment->socket = sockets[0];
    _cleanup_close_ int keeper_end = sockets[1];
    struct plan plan = {
        .setup = setup,
        .request = request,
        .groups = &environment->groups,
        .block = environment->claim.block,
        .root = root,
        .runner = runner,
        .socket = keeper_end,
        .group = -EBADF,
    };
    r = run_children(&plan, &environment->pid, err);
    if (r < 0)
        return r;
    /* Not reaped yet, so the number is still its own. */
    environment->pidfd = (int)syscall(SYS_pidfd_open, environment->pid, 0);
    if (environment->pidfd < 0 || fcntl(environment->socket, F_SETFL, O_NONBLOCK) < 0) {
        r = error_set(err, -errno, "pidfd_open: %s", strerror(errno));
        kill(environment->pid, SIGKILL);
        reap(environment->pid);
    }
    return r;
}

int launcher_make(const struct launcher_setup *setup, const struct launcher_make *request,
                  int runner, struct environment **made, struct error *err) {
    struct environment *environment = calloc(1, sizeof *environment);
    if (!environment)
        return error_set(err, -ENOMEM, "out of memory");
    environment->id = request->id;
    environment->host_network = request->host_network;
    environment->pidfd = environment->socket = environment->image = environment->claim.fd = -EBADF;
    int r = build(setup, request, runner, environment, err);
    if (r == 0) {
        *made = environment;
        return 0;
    }
    error_context(err, "function %s: ", request->name);
    /* Its processes are reaped: only groups can be left, and nobody is in them. */
    int left = environment->groups.all.active ? cgroup_remove(&environment->groups.all, NULL) : 0;
    launcher_free(environment, left == 0);
    return r;
}

void launcher_free(struct environment *environment, bool released) {
    launcher_groups_close(&environment->groups);
    if (released)
        claim_release(&environment->claim);
    cleanup_close(&environment->claim.fd);
    cleanup_close(&environment->pidfd);
    cleanup_close(&environment->socket);
    cleanup_close(&environment->image);
    free(environment);
}
