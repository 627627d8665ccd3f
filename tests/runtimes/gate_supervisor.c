/* gate_supervisor PROGRAM ARGUMENT...: starts a language runtime with FNRUN_GATE=1 and plays
 * the keeper for it (isolate/gate.h), without namespaces, ids or groups: joining and changing
 * ids are answered with success and not done. Speaks with a test over stdin and stdout.
 *
 *   slot            a new Z_s takes the place of the one that was; the pages that the last
 *                   trial wrote are its ranges
 *   trial           one F, GATE_TRIAL
 *   event LENGTH    one F; LENGTH bytes (head lines, empty line, event) follow the line
 *
 * Every command is answered by one line of JSON, {"kind": ..., ...}, with the lengths of what
 * follows it in "reply", "out" and "err" (descriptors 1 and 2 of F). When the code could not be
 * loaded that comes first, as the answer to whatever was asked. Z's own output is its own
 * stderr here. Ends at the end of stdin, and all its processes with it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "isolate/gate.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define EXACT_FLAGS (CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)
#define SLOT_ID     4242
#define LONGEST     (64 << 20) /* bytes of a reply, an event, a log */

struct bytes {
    char *data;
    size_t length, capacity;
};

static int listener;
static pid_t zygote, copy, process;             /* Z, Z_s, F */
static uint64_t zygote_id, copy_id, process_id; /* notifications held back; 0: none */
static struct seccomp_notif notification;
static unsigned long process_buffer, process_size;
static bool cloned;      /* Z has made its Z_s */
static char joined[256]; /* what Z_s asked for, in order */
static struct gate_range ranges[GATE_RANGES];
static size_t range_count;
static int tasks[2];

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "gate_supervisor: ");
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", strerror(errno));
    kill(0, SIGKILL); /* the test starts it in a group of its own */
    _exit(1);
}

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void add(struct bytes *to, const char *data, size_t length) {
    if (to->length + length > to->capacity) {
        to->capacity = 2 * (to->length + length);
        to->data = realloc(to->data, to->capacity);
        if (!to->data)
            fail("memory");
    }
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

/* --- the filter and the start of Z --- */

static void load_filter(int socket) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GATE_CALL, 7, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setns, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setresuid, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setresgid, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_PARENT, 0, 2),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        _exit(90);
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                          SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                          &program);
    char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    if (fd < 0 || sendmsg(socket, &message, 0) < 0)
        _exit(91);
}

static void start(char **argv) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        fail("socketpair");
    zygote = fork();
    if (zygote == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int out[2]; /* descriptors 0, 1 and 2 are pipes, as the keeper's are */
        dup2(STDERR_FILENO, STDOUT_FILENO);
        if (pipe(out) < 0 || dup2(out[0], 0) < 0)
            _exit(92);
        close(out[0]);
        close(out[1]);
        load_filter(pair[1]);
        syscall(SYS_close_range, 3, ~0u, 0);
        setenv(GATE_VARIABLE, "1", 1);
        execv(argv[0], argv);
        _exit(93);
    }
    char control[CMSG_SPACE(sizeof listener)], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    if (recvmsg(pair[0], &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
        fail("no filter");
    memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof listener);
    close(pair[0]);
    close(pair[1]);
}

/* --- notifications --- */

static void answer(uint64_t id, long value, int error, bool go_on) {
    struct seccomp_notif_resp response = {.id = id,
                                          .val = value,
                                          .error = -error,
                                          .flags = go_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 && errno != ENOENT)
        fail("answering");
}

static void place(uint64_t id, int fd, unsigned number) {
    struct seccomp_notif_addfd request = {
        .id = id, .flags = SECCOMP_ADDFD_FLAG_SETFD, .srcfd = (unsigned)fd, .newfd = number};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request) < 0)
        fail("placing descriptor %u", number);
}

static void copy_out(pid_t pid, unsigned long at, struct bytes *to, size_t length) {
    to->data = malloc(length + 1);
    struct iovec here = {to->data, length}, there = {(void *)at, length};
    if (length > 0 && process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)length)
        fail("reading %zu bytes of %d", length, pid);
    to->length = length;
}

static void copy_in(pid_t pid, unsigned long at, const void *data, size_t length) {
    struct iovec here = {(void *)data, length}, there = {(void *)at, length};
    if (length > 0 && process_vm_writev(pid, &here, 1, &there, 1, 0) != (ssize_t)length)
        fail("writing %zu bytes to %d", length, pid);
}

static void enter(pid_t pid) {
    if (pipe2(tasks, O_CLOEXEC) < 0)
        fail("pipe");
    place(notification.id, tasks[1], GATE_TASKS_FD);
    close(tasks[1]);
    size_t length = range_count * sizeof *ranges;
    if (length > notification.data.args[2])
        fail("the buffer for ranges has %llu bytes", notification.data.args[2]);
    copy_in(pid, notification.data.args[1], ranges, length);
    answer(notification.id, (long)length | 1L << 32, 0, false);
}

static void note(const char *word, unsigned long long number) {
    size_t used = strlen(joined);
    snprintf(joined + used, sizeof joined - used, "%s%s:%llx", used ? " " : "", word, number);
}

/* Takes one notification. Returns the gate's operation where the caller has to do something
 * about it (GATE_REPLY, GATE_FAILED, GATE_MORE), else 0. */
static int take(void) {
    memset(&notification, 0, sizeof notification);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0) {
        if (errno == ENOENT || errno == EINTR)
            return 0;
        fail("receiving");
    }
    pid_t pid = (pid_t)notification.pid;
    uint64_t id = notification.id;
    const __u64 *args = notification.data.args;
    switch (notification.data.nr) {
    case SYS_setns:
        note("setns", args[1]);
        answer(id, 0, 0, false);
        return 0;
    case SYS_setresuid:
    case SYS_setresgid:
        note(notification.data.nr == SYS_setresuid ? "uid" : "gid",
             args[0] == args[1] && args[1] == args[2] ? args[0] : ~0ull);
        answer(id, 0, 0, false);
        return 0;
    case SYS_clone:
        if (args[0] != EXACT_FLAGS || args[1] != 0 || (pid != zygote && pid != copy)) {
            answer(id, 0, EPERM, false);
        } else if (pid == copy) {
            copy_id = id;
        } else {
            cloned = true;
            answer(id, 0, 0, true);
        }
        return 0;
    default:
        break;
    }
    if (args[0] == GATE_ZYGOTE && pid == zygote) {
        zygote_id = id;
    } else if (args[0] == GATE_FAILED && pid == zygote) {
        return GATE_FAILED;
    } else if (args[0] == GATE_ENTER && pid != zygote && cloned && !copy) {
        copy = pid;
        enter(pid);
    } else if (args[0] == GATE_EVENT && !process && pid != zygote && pid != copy) {
        process = pid;
        process_id = id;
        process_buffer = args[1];
        process_size = args[2];
    } else if ((args[0] == GATE_MORE || args[0] == GATE_REPLY) && pid == process) {
        return (int)args[0];
    } else {
        answer(id, 0, EPERM, false);
    }
    return 0;
}

/* --- answers to the test --- */

static void print_json_text(const char *text) {
    putchar('"');
    for (; *text; text++)
        if (*text == '\n' || *text == '\t')
            printf("\\%c", *text == '\n' ? 'n' : 't');
        else
            putchar(*text);
    putchar('"');
}

static void print_failed(void) {
    struct bytes text = {0};
    copy_out(zygote, notification.data.args[1], &text, notification.data.args[2]);
    answer(notification.id, 0, EPERM, false);
    int status = 0;
    if (waitpid(zygote, &status, 0) != zygote)
        fail("waiting for Z");
    printf("{\"kind\": \"failed\", \"reply\": %zu, \"out\": 0, \"err\": 0, \"status\": %d}\n",
           text.length, status);
    fwrite(text.data, 1, text.length, stdout);
    fflush(stdout);
    exit(0);
}

/* Takes notifications until the one that *held is for. A Z that could not load its code ends the
 * program. */
static void await(const uint64_t *held, pid_t child) {
    while (!*held) {
        struct pollfd waiting = {listener, POLLIN, 0};
        int status;
        if (poll(&waiting, 1, 100) < 0)
            fail("poll");
        if (waiting.revents & POLLIN) {
            if (take() == GATE_FAILED)
                print_failed();
        } else if (waitpid(child ? child : copy ? copy : zygote, &status, WNOHANG) > 0) {
            printf("{\"kind\": \"gone\", \"status\": %d, \"reply\": 0, \"out\": 0, \"err\": 0}\n",
                   status);
            fflush(stdout);
            exit(0);
        }
    }
}

static size_t count_descriptors(pid_t pid, char folder[4096]) {
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/cwd", pid);
    ssize_t length = readlink(path, folder, 4095);
    folder[length < 0 ? 0 : length] = 0;
    size_t count = 0;
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        count += readlink(path, text, sizeof text) >= 0;
    }
    return count;
}

static void make_slot(void) {
    if (copy) {
        kill(copy, SIGKILL);
        waitpid(copy, NULL, 0);
        copy = 0;
        copy_id = 0;
    }
    joined[0] = 0;
    cloned = false;
    await(&zygote_id, zygote);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (unsigned i = 0; i < GATE_NAMESPACES; i++)
        place(zygote_id, null, GATE_NAMESPACE_FD + i);
    close(null);
    uint64_t id = zygote_id;
    zygote_id = 0;
    answer(id, SLOT_ID, 0, false);
    await(&copy_id, 0);
    await(&zygote_id, zygote);
    char moved[8] = "", path[64], status[4096] = "", folder[4096];
    if (read(tasks[0], moved, sizeof moved - 1) < 0)
        fail("tasks");
    close(tasks[0]);
    snprintf(path, sizeof path, "/proc/%d/status", copy);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, status, sizeof status - 1) <= 0)
        fail("status");
    close(fd);
    size_t descriptors = count_descriptors(copy, folder);
    printf("{\"kind\": \"slot\", \"reply\": 0, \"out\": 0, \"err\": 0, \"descriptors\": %zu, "
           "\"zygote_descriptors\": %zu, \"session\": %s, \"moved\": \"%s\", \"folder\": \"%s\", "
           "\"joined\": \"%s\", \"status\": ",
           descriptors, count_descriptors(zygote, (char[4096]){0}),
           getsid(copy) == copy ? "true" : "false", moved, folder, joined);
    print_json_text(status);
    puts("}");
    fflush(stdout);
}

/* The pages that F wrote: present, not of a file, mapped by nobody else. */
static void learn(void) {
    char path[64], line[512];
    static uint64_t entries[4096];
    snprintf(path, sizeof path, "/proc/%d/pagemap", process);
    int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/maps", process);
    FILE *maps = fopen(path, "re");
    range_count = 0;
    while (maps && pagemap >= 0 && fgets(line, sizeof line, maps)) {
        unsigned long at, end;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &at, &end, mode) != 3 || mode[1] != 'w' || mode[3] != 'p')
            continue;
        while (at < end) {
            size_t want = (end - at) / 4096 < 4096 ? (end - at) / 4096 : 4096;
            ssize_t got = pread(pagemap, entries, want * 8, (off_t)(at / 4096 * 8));
            for (ssize_t i = 0; i < got / 8; i++, at += 4096) {
                if (!(entries[i] >> 63 & 1) || !(entries[i] >> 56 & 1) || entries[i] >> 61 & 1)
                    continue;
                struct gate_range *last = range_count ? &ranges[range_count - 1] : NULL;
                if (last && last->start + last->length == at)
                    last->length += 4096;
                else if (range_count < GATE_RANGES)
                    ranges[range_count++] = (struct gate_range){at, 4096};
            }
            if (got <= 0)
                break;
        }
    }
    if (maps)
        fclose(maps);
    close(pagemap);
}

/* How many pages of the ranges are F's own by now. */
static void count_touched(unsigned long *own, unsigned long *all) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/pagemap", process);
    int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    *own = *all = 0;
    for (size_t i = 0; i < range_count; i++)
        for (unsigned long at = 0; at < ranges[i].length; at += 4096, ++*all) {
            uint64_t entry = 0;
            if (pread(pagemap, &entry, 8, (off_t)((ranges[i].start + at) / 4096 * 8)) == 8)
                *own += (entry >> 63 & 1) && (entry >> 56 & 1);
        }
    close(pagemap);
}

/* Reads what is there; false at the end. */
static bool drain(int fd, struct bytes *to) {
    char part[65536];
    ssize_t count = read(fd, part, sizeof part);
    if (count <= 0)
        return count < 0 && errno == EAGAIN;
    if (to->length < LONGEST)
        add(to, part, (size_t)count);
    return true;
}

/* One event of F: its pipes, what came of it. */
struct run {
    const char *event; /* NULL: a trial */
    size_t length;
    int out[2]; /* our ends of descriptors 1 and 2 */
    struct bytes reply, text[2];
    const char *kind;
    int status;
    struct rusage usage;
    long long begun, forked, sent, answered; /* us */
    unsigned long touched, pages;
};

/* Lets Z_s clone F, and gives F its descriptors and the event. */
static void give_event(struct run *run) {
    await(&copy_id, 0);
    uint64_t id = copy_id;
    copy_id = 0;
    run->begun = now_us();
    answer(id, 0, 0, true);
    await(&process_id, 0);
    run->forked = now_us();
    count_touched(&run->touched, &run->pages);
    for (unsigned fd = 0; fd < 3; fd++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            fail("pipe");
        place(process_id, ends[fd > 0], fd);
        close(ends[fd > 0]);
        if (fd == 0) {
            close(ends[1]);
        } else {
            fcntl(ends[0], F_SETFL, O_NONBLOCK);
            run->out[fd - 1] = ends[0];
        }
    }
    run->sent = now_us();
    long head = run->event ? (long)run->length : GATE_TRIAL;
    copy_in(process, process_buffer, &head, sizeof head);
    if (run->event && run->length + sizeof head <= process_size)
        copy_in(process, process_buffer + sizeof head, run->event, run->length);
    id = process_id;
    process_id = 0;
    answer(id, 1, 0, false);
}

/* True: F has answered. */
static bool take_answer(struct run *run) {
    int asked = take();
    if (asked == GATE_MORE) {
        if (notification.data.args[2] != run->length)
            fail("room for %llu of %zu bytes", notification.data.args[2], run->length);
        copy_in(process, notification.data.args[1], run->event, run->length);
        answer(notification.id, (long)run->length, 0, false);
    }
    if (asked != GATE_REPLY)
        return false;
    run->answered = now_us();
    run->kind = !run->event                               ? "trial"
                : notification.data.args[3] == GATE_ERROR ? "error"
                                                          : "result";
    copy_out(process, notification.data.args[1], &run->reply, notification.data.args[2]);
    if (!run->event)
        learn();
    return true;
}

static void await_answer(struct run *run) {
    int pidfd = (int)syscall(SYS_pidfd_open, process, 0);
    bool ended = false;
    while (!ended) {
        struct pollfd waiting[4] = {{listener, POLLIN, 0},
                                    {run->out[0], POLLIN, 0},
                                    {run->out[1], POLLIN, 0},
                                    {pidfd, POLLIN, 0}};
        if (poll(waiting, 4, -1) < 0)
            fail("poll");
        for (int i = 0; i < 2; i++)
            if (waiting[1 + i].revents & POLLIN)
                drain(run->out[i], &run->text[i]);
        ended = waiting[3].revents != 0;
        if (waiting[0].revents & POLLIN && take_answer(run))
            ended = true;
    }
    close(pidfd);
}

/* Ends F and what it started, and reads what they had printed. */
static void end_process(struct run *run) {
    kill(-process, SIGKILL);
    kill(process, SIGKILL);
    if (wait4(process, &run->status, 0, &run->usage) != process)
        fail("waiting for F");
    while (waitpid(-process, NULL, WNOHANG) > 0) {
    }
    process = 0;
    for (int i = 0; i < 2; i++) {
        struct pollfd more = {run->out[i], POLLIN, 0};
        while (poll(&more, 1, 0) == 1 && drain(run->out[i], &run->text[i])) {
        }
        close(run->out[i]);
    }
}

static void run_event(const char *event, size_t length) {
    struct run run = {.event = event, .length = length, .kind = "died"};
    give_event(&run);
    await_answer(&run);
    end_process(&run);
    const struct rusage *usage = &run.usage;
    printf("{\"kind\": \"%s\", \"reply\": %zu, \"out\": %zu, \"err\": %zu, \"status\": %d, "
           "\"faults\": %ld, \"fork_us\": %lld, \"us\": %lld, \"ranges\": %zu, "
           "\"pages\": %lu, \"touched\": %lu, \"cpu_us\": %ld}\n",
           run.kind, run.reply.length, run.text[0].length, run.text[1].length, run.status,
           usage->ru_minflt, run.forked - run.begun, run.answered - run.sent, range_count,
           run.pages, run.touched,
           (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 + usage->ru_utime.tv_usec +
               usage->ru_stime.tv_usec);
    fwrite(run.reply.data, 1, run.reply.length, stdout);
    for (int i = 0; i < 2; i++)
        fwrite(run.text[i].data, 1, run.text[i].length, stdout);
    fflush(stdout);
    free(run.reply.data);
    free(run.text[0].data);
    free(run.text[1].data);
}

int main(int argc, char **argv) {
    char line[64];
    if (argc < 2)
        return 2;
    start(argv + 1);
    while (fgets(line, sizeof line, stdin)) {
        size_t length;
        if (strcmp(line, "slot\n") == 0) {
            make_slot();
        } else if (strcmp(line, "trial\n") == 0) {
            run_event(NULL, 0);
        } else if (sscanf(line, "event %zu", &length) == 1 && length <= LONGEST) {
            char *event = malloc(length + 1);
            if (!event || fread(event, 1, length, stdin) != length)
                fail("the event");
            run_event(event, length);
            free(event);
        } else {
            fail("unknown command %s", line);
        }
    }
    if (copy)
        kill(copy, SIGKILL);
    kill(zygote, SIGKILL);
    return 0;
}
