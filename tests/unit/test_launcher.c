/* fnrun-launcher from outside: the test is its runner, and this same program, started with
 * another name, its keeper (launcher_keeper.h). */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/idmap.h"
#include "isolate/launcher.h"
#include "isolate/wire.h"
#include "launcher_keeper.h"

#define PATIENCE_MS 20000 /* a hang, not a measure of speed */
#define SLOTS       3
#define ALL_SLOTS   (SLOTS + LAUNCHER_TRIAL)
#define MEMORY      (64ULL << 20)
#define PROCESSES   10

static char top[] = "/tmp/fnrun-test-launcher-XXXXXX";
static char store[64], run_dir[64], runtimes[64], program[512], self[512];
static char digest[LAUNCHER_DIGEST + 1];
static bool v2; /* control groups */
static const char *const controllers[] = {"memory", "pids", "cpu", "cpuacct"};

struct launcher {
    int socket;
    pid_t pid;
    struct launcher_message hello;
};

struct keeper {
    int socket, pidfd;
    pid_t pid;
    char group[128]; /* the last part of its group's path */
};

static struct launcher launcher;

/* ---- the runner's side -------------------------------------------------------------------- */

static struct launcher_message hear(int socket) {
    struct launcher_message message = {0};
    struct pollfd ready = {.fd = socket, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    assert_true(wire_receive(socket, &message, sizeof message, NULL, NULL) > 0);
    return message;
}

static struct launcher start_launcher(const char *stored) {
    struct launcher started = {0};
    int sockets[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    started.socket = sockets[0];
    started.pid = fork();
    if (started.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (sockets[1] == 3)
            fcntl(3, F_SETFD, 0);
        else
            dup2(sockets[1], 3);
        execl(program, "fnrun-launcher", stored, run_dir, runtimes, "", self, NULL);
        _exit(127);
    }
    close(sockets[1]);
    started.hello = hear(started.socket);
    assert_int_equal(started.hello.op, LAUNCHER_HELLO);
    return started;
}

static struct launcher_make request_of(uint32_t id) {
    struct launcher_make request = {
        .op = LAUNCHER_MAKE,
        .id = id,
        .name = "probe",
        .slots = SLOTS,
        .memory = MEMORY,
        .processes = PROCESSES,
        .cpu_milli = 500,
        .tmp_bytes = 1 << 20,
    };
    memcpy(request.digest, digest, sizeof digest);
    return request;
}

/* Sends the request with a keeper's socket; returns our end. */
static int send_request(const struct launcher_make *request) {
    int sockets[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(wire_send(launcher.socket, request, sizeof *request, &sockets[1], 1), 0);
    close(sockets[1]);
    return sockets[0];
}

static void read_file(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, size - 1);
    text[length > 0 ? length : 0] = 0;
    if (fd >= 0)
        close(fd);
}

/* The group of pid, as a path below /sys/fs/cgroup: in that v1 hierarchy, or v2's. */
static void group_path(pid_t pid, const char *controller, char *path, size_t size) {
    char file[64], text[4096], wanted[32];
    snprintf(file, sizeof file, "/proc/%d/cgroup", (int)pid);
    read_file(file, text, sizeof text);
    snprintf(wanted, sizeof wanted, v2 ? "0::" : ":%s:", controller);
    char *at = strstr(text, wanted);
    assert_non_null(at);
    at += strlen(wanted);
    snprintf(path, size, "/sys/fs/cgroup/%s%.*s", v2 ? "" : controller, (int)strcspn(at, "\n"), at);
}

static struct keeper make(const struct launcher_make *request) {
    struct keeper keeper = {.socket = send_request(request)};
    char path[512];
    struct launcher_message message = hear(launcher.socket);
    if (message.op != LAUNCHER_MADE)
        fail_msg("refused: %s", message.text);
    assert_int_equal(message.id, request->id);
    keeper.pid = message.pid;
    keeper.pidfd = (int)syscall(SYS_pidfd_open, keeper.pid, 0);
    assert_true(keeper.pidfd >= 0);
    group_path(keeper.pid, "memory", path, sizeof path);
    snprintf(keeper.group, sizeof keeper.group, "%s", strrchr(path, '/') + 1);
    return keeper;
}

static const char *ask(const struct keeper *keeper, const char *question) {
    static char answer[KEEPER_ANSWER];
    struct pollfd ready = {.fd = keeper->socket, .events = POLLIN};
    assert_int_equal(wire_send(keeper->socket, question, strlen(question), NULL, 0), 0);
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    ssize_t length = wire_receive(keeper->socket, answer, sizeof answer - 1, NULL, NULL);
    assert_true(length > 0);
    answer[length] = 0;
    return answer;
}

static void expect(const struct keeper *keeper, const char *question, const char *part) {
    const char *answer = ask(keeper, question);
    if (!strstr(answer, part))
        fail_msg("%s: expected \"%s\" in \"%s\"", question, part, answer);
}

static void wait_dead(int pidfd) {
    struct pollfd ready = {.fd = pidfd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
}

/* Whether a group of this name is left anywhere in the hierarchy. */
static bool has_group(const char *folder, const char *name, int depth) {
    DIR *groups = opendir(folder);
    struct dirent *entry;
    bool found = false;
    while (groups && !found && (entry = readdir(groups))) {
        char path[1024];
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        found = strcmp(entry->d_name, name) == 0 || (depth > 0 && has_group(path, name, depth - 1));
    }
    if (groups)
        closedir(groups);
    return found;
}

static bool is_left(const char *name) {
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
        char path[64];
        if (v2)
            return has_group("/sys/fs/cgroup", name, 9);
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", controllers[i]);
        if (has_group(path, name, 4))
            return true;
    }
    return false;
}

static void close_keeper(struct keeper *keeper) {
    close(keeper->socket);
    close(keeper->pidfd);
}

/* Ends it and waits until the launcher says that all is gone. */
static void end(struct keeper *keeper, uint32_t id) {
    uint32_t message[2] = {LAUNCHER_KILL, id};
    assert_int_equal(wire_send(launcher.socket, message, sizeof message, NULL, 0), 0);
    struct launcher_message gone = hear(launcher.socket);
    assert_int_equal(gone.op, LAUNCHER_GONE);
    assert_int_equal(gone.id, id);
    assert_string_equal(gone.text, "");
    assert_false(is_left(keeper->group));
    close_keeper(keeper);
}

static int stop_launcher(void) {
    int status = -1;
    close(launcher.socket);
    assert_int_equal(waitpid(launcher.pid, &status, 0), launcher.pid);
    launcher.pid = 0;
    return status;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void the_keeper_is_root_inside_and_a_block_of_ids_outside(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    struct idmap ids;
    struct idmap_environment host;
    struct error err;
    char path[64], text[512], expected[512];
    unsigned uid, block;
    assert_int_equal(sscanf(keeper.group, "fnrun-%u-%u-", &uid, &block), 2);
    assert_int_equal(uid, geteuid());
    assert_int_equal(idmap_find(&ids, &err), 0);
    idmap_environment(&ids, block, &host);
    snprintf(expected, sizeof expected, "%10u %10u %10u\n%10u %10u %10u\n%10u %10u %10u\n", 0u,
             host.keeper_uid, 1u, 1000u, host.zygote_uid, 1u, 2000u, host.slot_uid,
             (unsigned)ALL_SLOTS);
    snprintf(path, sizeof path, "/proc/%d/uid_map", (int)keeper.pid);
    read_file(path, text, sizeof text);
    assert_string_equal(text, expected);
    snprintf(path, sizeof path, "/proc/%d/gid_map", (int)keeper.pid);
    read_file(path, text, sizeof text);
    snprintf(expected, sizeof expected, "%10u %10u %10u\n%10u %10u %10u\n%10u %10u %10u\n", 0u,
             host.keeper_gid, 1u, 1000u, host.zygote_gid, 1u, 2000u, host.slot_gid,
             (unsigned)ALL_SLOTS);
    assert_string_equal(text, expected);
    expect(&keeper, "ids", "uid 0 0 0\ngid 0 0 0\ngroups 0\npid 1\nparent 0\n");
    end(&keeper, 1);
}

static void the_keeper_starts_with_nothing_but_its_sockets(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    char path[64], found[512] = "";
    /* By then its program has read its libraries. */
    expect(&keeper, "ids", "session 1\nenvironment 0\nfolder /\nmask 22\nignored 0\n");
    snprintf(path, sizeof path, "/proc/%d/fd", (int)keeper.pid);
    DIR *fds = opendir(path);
    assert_non_null(fds);
    for (struct dirent *entry; (entry = readdir(fds));)
        if (entry->d_name[0] != '.') {
            size_t used = strlen(found);
            snprintf(found + used, sizeof found - used, "%s ", entry->d_name);
        }
    closedir(fds);
    assert_string_equal(found, v2 ? "3 4 5 " : "3 4 ");
    end(&keeper, 1);
}

static ino_t namespace_of(pid_t pid, const char *name) {
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void every_namespace_is_new_and_the_network_is_the_machines_only_if_asked(void **state) {
    (void)state;
    static const char *const names[] = {"user", "pid", "mnt", "ipc", "uts", "net"};
    for (uint32_t host = 0; host < 2; host++) {
        struct launcher_make request = request_of(1);
        request.host_network = host;
        struct keeper keeper = make(&request);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            bool same = namespace_of(keeper.pid, names[i]) == namespace_of(getpid(), names[i]);
            assert_int_equal(same, host && strcmp(names[i], "net") == 0);
        }
        end(&keeper, 1);
    }
}

static void expect_number(pid_t pid, const char *controller, const char *file,
                          unsigned long long least, unsigned long long most) {
    char path[512], text[64];
    group_path(pid, controller, path, sizeof path - 64);
    snprintf(path + strlen(path), 64, "/%s", file);
    read_file(path, text, sizeof text);
    unsigned long long value = strtoull(text, NULL, 10);
    if (value < least || value > most)
        fail_msg("%s: %llu is not within %llu and %llu", path, value, least, most);
}

static void the_environment_stands_in_a_group_with_the_sum_of_the_limits(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    unsigned long long all = ALL_SLOTS + 1;
    expect_number(keeper.pid, "memory", v2 ? "memory.max" : "memory.limit_in_bytes", all * MEMORY,
                  all * MEMORY + (192 << 20));
    expect_number(keeper.pid, "pids", "pids.max", all * (PROCESSES + 2),
                  all * (PROCESSES + 2) + 16);
    expect_number(keeper.pid, "cpu", v2 ? "cpu.max" : "cpu.cfs_quota_us", all * 50000, all * 50000);
    end(&keeper, 1);
}

static void the_image_is_read_only_even_to_the_keeper(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    char denied[32];
    expect(&keeper, "read /var/task/app.py", "the version\n");
    snprintf(denied, sizeof denied, "create %d\n", -EROFS);
    expect(&keeper, "create /var/task/new", denied);
    expect(&keeper, "create /usr/new", denied);
    expect(&keeper, "create /new", denied);
    snprintf(denied, sizeof denied, "remount %d\numount %d\n", -EPERM, -EINVAL);
    expect(&keeper, "remount /usr", denied);
    expect(&keeper, "remount /var/task", denied);
    expect(&keeper, "create /usr/new", "create -30\n");
    end(&keeper, 1);
}

static void a_single_file_is_alone_in_its_folder(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    strcpy(request.task_file, "app.py");
    struct keeper keeper = make(&request);
    expect(&keeper, "read /var/task/app.py", "the version\n");
    expect(&keeper, "read /var/task/other", "-2\n");
    expect(&keeper, "create /var/task/new", "create -30\n");
    end(&keeper, 1);
}

static void a_slot_can_have_a_proc_and_a_tmp_of_its_own(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    expect(&keeper, "create /tmp/early", "create -30\n");
    expect(&keeper, "private", "0 \n");
    expect(&keeper, "create /tmp/file", "create 0\n");
    expect(&keeper, "read /proc/1/comm", "\n");
    expect(&keeper, "read /proc/2/comm", "-2\n");
    expect(&keeper, "read /proc/self/mountinfo", "hidepid=invisible");
    expect(&keeper, "write /proc/1/oom_score_adj", "write -30\n");
    assert_string_equal(ask(&keeper, "read /proc/keys"), "");
    expect(&keeper, "tmp", "0 \n");
    expect(&keeper, "read /tmp/file", "-2\n");
    end(&keeper, 1);
}

static void a_leaf_has_the_slots_limits_and_peaks_that_the_keeper_may_reset(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    const char *expected = "12 descriptors\n67108864\n12\n50000\nreset 0\nlimit -13\n";
    assert_string_equal(ask(&keeper, "leaf 0"), expected);
    assert_string_equal(ask(&keeper, "leaf 2"), expected);
    /* The zygote's is wider by the page tables of its copies. */
    expect(&keeper, "leaf 4294967295", "12 descriptors\n75497472\n12\n50000\nreset 0\nlimit -13\n");
    /* Asked again: the same. */
    assert_string_equal(ask(&keeper, "leaf 0"), expected);
    assert_string_equal(ask(&keeper, "above"), "nothing\n");
    end(&keeper, 1);
}

static void a_slots_descriptors_move_its_own_id_and_nobody_else(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    char part[160];
    snprintf(part, sizeof part, "/%s/1\n", keeper.group);
    expect(&keeper, "enter 1", part);
    snprintf(part, sizeof part, "/%s/zygote\n", keeper.group);
    expect(&keeper, "enter 4294967295", part);
    expect(&keeper, "steal 1", "write -13\n");
    end(&keeper, 1);
}

static void on_v2_the_keeper_divides_its_group_but_cannot_widen_it(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    expect(&keeper, "divide", "keeper 0\nenable 0\nslot 0\nmemory 0\nabove nothing\n");
    /* As root the files are root's; a user's own are refused from its cgroup namespace. */
    const char *answer = ask(&keeper, "widen");
    assert_true(strstr(answer, "memory -13\n") || strstr(answer, "memory -1\n"));
    expect(&keeper, "deep", "deep -11\n");
    end(&keeper, 1);
}

static void a_hostile_keeper_gets_words_and_the_launcher_goes_on(void **state) {
    (void)state;
    struct launcher_make request = request_of(1), second = request_of(2);
    struct keeper keeper = make(&request);
    expect(&keeper, "leaf 4", v2 ? "refused with cgroup v2" : "refused there is no slot 4");
    expect(&keeper, "leaf 4294967294", "refused ");
    int sent = 0, answered = -1;
    assert_int_equal(sscanf(ask(&keeper, "flood 2000"), "%d sent, %d", &sent, &answered), 2);
    assert_true(sent > 10);
    assert_int_equal(sent, answered);
    expect(&keeper, "nonsense", "send 0\n");
    struct keeper other = make(&second);
    expect(&other, "leaf 0", v2 ? "refused" : "12 descriptors");
    end(&keeper, 1);
    end(&other, 2);
}

static void the_user_namespace_belongs_to_an_id_of_no_environment(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    struct idmap ids;
    struct error err;
    char path[64];
    uint32_t uid, gid, owner = 0;
    assert_int_equal(idmap_find(&ids, &err), 0);
    idmap_language(&ids, &uid, &gid);
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)keeper.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(ioctl(fd, NS_GET_OWNER_UID, &owner), 0);
    close(fd);
    assert_int_equal(owner, uid);
    for (uint32_t block = 0; ids.kind == IDMAP_RANGE && block < idmap_environment_blocks(&ids);
         block++) {
        struct idmap_environment host;
        idmap_environment(&ids, block, &host);
        assert_false(host.keeper_uid <= uid && uid <= host.slot_uid + IDMAP_SLOTS);
        assert_false(host.keeper_gid <= gid && gid <= host.slot_gid + IDMAP_SLOTS);
    }
    end(&keeper, 1);
}

/* There is no interpreter's module in this test's runtimes. */
static void without_a_language_zygote_a_keeper_sees_the_channels_end(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    assert_string_equal(ask(&keeper, "language"), "send 0\nreceived 0\n");
    expect(&keeper, "leaf 0", v2 ? "refused" : "12 descriptors");
    /* Once is enough: then it is not heard again. */
    assert_string_equal(ask(&keeper, "language"), "send 0\nreceived 0\n");
    expect(&keeper, "leaf 0", "0 descriptors");
    end(&keeper, 1);
}

static void environments_have_ids_and_groups_of_their_own(void **state) {
    (void)state;
    struct launcher_make first = request_of(1), second = request_of(2);
    struct keeper a = make(&first), b = make(&second);
    char path[64], one[512], two[512];
    assert_string_not_equal(a.group, b.group);
    snprintf(path, sizeof path, "/proc/%d/uid_map", (int)a.pid);
    read_file(path, one, sizeof one);
    snprintf(path, sizeof path, "/proc/%d/uid_map", (int)b.pid);
    read_file(path, two, sizeof two);
    assert_string_not_equal(one, two);
    end(&b, 2);
    expect(&a, "ids", "uid 0");
    end(&a, 1);
}

static void a_keeper_that_ends_is_told_with_its_status(void **state) {
    (void)state;
    struct launcher_make request = request_of(5);
    struct keeper keeper = make(&request);
    assert_string_not_equal(ask(&keeper, "linger"), "-1\n");
    expect(&keeper, v2 ? "divide" : "enter 0", "/0\n");
    assert_int_equal(wire_send(keeper.socket, "exit", 4, NULL, 0), 0);
    struct launcher_message gone = hear(launcher.socket);
    assert_int_equal(gone.op, LAUNCHER_GONE);
    assert_int_equal(gone.id, 5);
    assert_int_equal(WEXITSTATUS(gone.code), 7);
    assert_false(is_left(keeper.group));
    close_keeper(&keeper);
}

static void a_killed_keeper_leaves_nothing(void **state) {
    (void)state;
    struct launcher_make request = request_of(5);
    struct keeper keeper = make(&request);
    ask(&keeper, "linger");
    ask(&keeper, v2 ? "divide" : "leaf 0");
    assert_true(is_left(keeper.group));
    kill(keeper.pid, SIGKILL);
    struct launcher_message gone = hear(launcher.socket);
    assert_int_equal(gone.op, LAUNCHER_GONE);
    assert_int_equal(WTERMSIG(gone.code), SIGKILL);
    assert_false(is_left(keeper.group));
    close_keeper(&keeper);
}

static void without_its_runner_the_launcher_ends_everything(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    ask(&keeper, "linger");
    ask(&keeper, v2 ? "divide" : "leaf 0");
    assert_int_equal(stop_launcher(), 0);
    wait_dead(keeper.pidfd);
    assert_false(is_left(keeper.group));
    close_keeper(&keeper);
}

/* A service manager may send it to all of a unit's processes at once. */
static void sigterm_is_left_to_the_runner(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    kill(launcher.pid, SIGTERM);
    struct keeper keeper = make(&request);
    assert_int_equal(stop_launcher(), 0);
    wait_dead(keeper.pidfd);
    assert_false(is_left(keeper.group));
    close_keeper(&keeper);
}

static void a_killed_launcher_takes_its_keepers_along_and_the_next_sweeps(void **state) {
    (void)state;
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    int status;
    ask(&keeper, "linger");
    ask(&keeper, v2 ? "divide" : "leaf 0");
    kill(launcher.pid, SIGKILL);
    assert_int_equal(waitpid(launcher.pid, &status, 0), launcher.pid);
    close(launcher.socket);
    wait_dead(keeper.pidfd);
    assert_true(is_left(keeper.group));
    launcher = start_launcher(store);
    assert_int_equal(launcher.hello.code, 0);
    assert_false(is_left(keeper.group));
    close_keeper(&keeper);
}

static void expect_refused(const struct launcher_make *request, const char *part) {
    int socket = send_request(request);
    struct launcher_message message = hear(launcher.socket);
    assert_int_equal(message.op, LAUNCHER_REFUSED);
    assert_int_equal(message.id, request->id);
    assert_true(message.code < 0);
    if (!strstr(message.text, part))
        fail_msg("expected \"%s\" in \"%s\"", part, message.text);
    close(socket);
}

static void a_request_that_makes_no_sense_is_refused_in_words(void **state) {
    (void)state;
#define REFUSED(change, part)                                                                      \
    do {                                                                                           \
        struct launcher_make request = request_of(9);                                              \
        change;                                                                                    \
        expect_refused(&request, part);                                                            \
    } while (0)
    REFUSED(request.digest[0] = 'x', "digest");
    REFUSED(request.digest[10] = 0, "digest");
    REFUSED(request.digest[64] = 'a', "digest");
    REFUSED(memcpy(request.digest, "../../..", 8), "digest");
    REFUSED(strcpy(request.task_file, "../app.py"), "task_file");
    REFUSED(strcpy(request.task_file, ".."), "task_file");
    REFUSED(memset(request.task_file, 'a', sizeof request.task_file), "task_file");
    REFUSED(memset(request.name, 'a', sizeof request.name), "name");
    REFUSED(request.slots = 0, "slots");
    REFUSED(request.slots = 1001, "slots");
    REFUSED(request.memory = 1, "memory");
    REFUSED(request.memory = UINT64_MAX, "memory");
    REFUSED(request.processes = UINT64_MAX, "processes");
    REFUSED(request.cpu_milli = 0, "cpu_milli");
    REFUSED(request.host_network = 2, "host_network");
    struct launcher_make request = request_of(1);
    struct keeper keeper = make(&request);
    expect_refused(&request, "there is an environment 1 already");
    end(&keeper, 1);
}

static void a_version_that_is_missing_or_leads_elsewhere_is_refused(void **state) {
    (void)state;
    REFUSED(request.digest[0] = 'f', "No such file or directory");
    REFUSED(request.digest[1] = 'f', "link"); /* a link, see main */
    REFUSED(strcpy(request.task_file, "link"), "link");
    REFUSED(strcpy(request.task_file, "folder"), "is not a file");
}

static void a_message_that_is_none_ends_the_launcher(void **state) {
    (void)state;
    assert_int_equal(wire_send(launcher.socket, "nonsense", 8, NULL, 0), 0);
    int status;
    assert_int_equal(waitpid(launcher.pid, &status, 0), launcher.pid);
    assert_int_equal(status, 0);
    launcher.pid = 0;
    close(launcher.socket);
}

static void a_store_that_is_not_there_is_said_at_once(void **state) {
    (void)state;
    struct launcher other = start_launcher("/nonexistent");
    int status;
    assert_int_equal(other.hello.code, -ENOENT);
    assert_non_null(strstr(other.hello.text, "/nonexistent/versions"));
    assert_int_equal(waitpid(other.pid, &status, 0), other.pid);
    assert_int_equal(WEXITSTATUS(status), 1);
    close(other.socket);
}

/* ---- around them ------------------------------------------------------------------------------
 */

static int start(void **state) {
    (void)state;
    launcher = start_launcher(store);
    if (launcher.hello.code < 0)
        print_error("%s\n", launcher.hello.text);
    return launcher.hello.code;
}

static int stop(void **state) {
    (void)state;
    if (launcher.pid > 0)
        stop_launcher();
    return 0;
}

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

static int prepare(void **state) {
    (void)state;
    char path[256];
    if (!mkdtemp(top) || chmod(top, 0755) < 0)
        return -1;
    snprintf(store, sizeof store, "%s/store", top);
    snprintf(run_dir, sizeof run_dir, "%s/run", top);
    snprintf(runtimes, sizeof runtimes, "%s/runtimes", top);
    memset(digest, '0', LAUNCHER_DIGEST);
    snprintf(path, sizeof path, "mkdir -p %s/versions/%s/folder %s", store, digest, runtimes);
    if (system(path) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/versions/%s/app.py", store, digest);
    put(path, "the version\n");
    snprintf(path, sizeof path, "%s/versions/%s/other", store, digest);
    put(path, "other\n");
    snprintf(path, sizeof path, "%s/versions/%s/link", store, digest);
    if (symlink("/etc/shadow", path) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/versions/0f%s", store, digest + 2);
    return symlink(digest, path);
}

static int clean(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command);
}

/* Why this machine cannot run them, or NULL. */
static const char *missing(void) {
    struct idmap ids;
    struct error err;
    const char *build = getenv("FNRUN_BUILD");
    snprintf(program, sizeof program, "%s/fnrun-launcher", build ? build : ".");
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0 || access(program, X_OK) < 0)
        return "there is no fnrun-launcher in the build folder";
    v2 = access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0;
    if (!v2 && access("/sys/fs/cgroup/memory/tasks", W_OK) < 0)
        return "with control groups v1 only root can";
    if (idmap_find(&ids, &err) < 0 || idmap_environment_blocks(&ids) == 0)
        return "no host ids are reserved";
    return NULL;
}

static void everything(void **state) {
    (void)state;
    skip();
}

int main(int argc, char **argv) {
    if (argc > 0 && strcmp(argv[0], "fnrun-keeper") == 0)
        return launcher_keeper_main();
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest common[] = {
        TEST(the_keeper_is_root_inside_and_a_block_of_ids_outside),
        TEST(the_keeper_starts_with_nothing_but_its_sockets),
        TEST(every_namespace_is_new_and_the_network_is_the_machines_only_if_asked),
        TEST(the_environment_stands_in_a_group_with_the_sum_of_the_limits),
        TEST(the_image_is_read_only_even_to_the_keeper),
        TEST(a_single_file_is_alone_in_its_folder),
        TEST(a_slot_can_have_a_proc_and_a_tmp_of_its_own),
        TEST(a_hostile_keeper_gets_words_and_the_launcher_goes_on),
        TEST(the_user_namespace_belongs_to_an_id_of_no_environment),
        TEST(without_a_language_zygote_a_keeper_sees_the_channels_end),
        TEST(environments_have_ids_and_groups_of_their_own),
        TEST(a_keeper_that_ends_is_told_with_its_status),
        TEST(a_killed_keeper_leaves_nothing),
        TEST(without_its_runner_the_launcher_ends_everything),
        TEST(sigterm_is_left_to_the_runner),
        TEST(a_killed_launcher_takes_its_keepers_along_and_the_next_sweeps),
        TEST(a_request_that_makes_no_sense_is_refused_in_words),
        TEST(a_version_that_is_missing_or_leads_elsewhere_is_refused),
        TEST(a_message_that_is_none_ends_the_launcher),
        cmocka_unit_test(a_store_that_is_not_there_is_said_at_once),
    };
    const struct CMUnitTest on_v1[] = {
        TEST(a_leaf_has_the_slots_limits_and_peaks_that_the_keeper_may_reset),
        TEST(a_slots_descriptors_move_its_own_id_and_nobody_else),
    };
    const struct CMUnitTest on_v2[] = {
        TEST(on_v2_the_keeper_divides_its_group_but_cannot_widen_it),
    };
    const struct CMUnitTest none[] = {cmocka_unit_test(everything)};
    const char *why = missing();
    if (why) {
        print_message("# %s\n", why);
        return cmocka_run_group_tests(none, NULL, NULL);
    }
    if (prepare(NULL) < 0)
        return 1;
    int failed = cmocka_run_group_tests(common, NULL, NULL);
    failed +=
        v2 ? cmocka_run_group_tests(on_v2, NULL, NULL) : cmocka_run_group_tests(on_v1, NULL, NULL);
    return failed + clean(NULL);
}
