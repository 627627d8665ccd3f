/* A native function whose handler leaves what the event asks for: {"do": "..."}, and goes. Each
 * answer is an object: errnos of what was tried, 0 where it was given. {"do": "look"} answers
 * with all that an event could find of the ones before it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fnrun.h"

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000 /* Linux 6.8 */
#endif

static char text[16384];
static size_t used;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    used += (size_t)vsnprintf(text + used, sizeof text - used, format, args);
    va_end(args);
}

static void key(const char *name) {
    say("%s\"%s\": ", used > 1 ? ", " : "", name);
}

/* The errno of a call, or 0. */
static long tell(const char *name, long result) {
    int code = errno;
    key(name);
    say("%d", result < 0 ? code : 0);
    return result;
}

static void tell_number(const char *name, long long number) {
    key(name);
    say("%lld", number);
}

/* --- looking ---------------------------------------------------------------------------------- */

static void list(const char *name, const char *path, int numbers) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    int count = 0;
    key(name);
    say("[");
    while (folder && (entry = readdir(folder)))
        if (numbers ? entry->d_name[0] >= '1' && entry->d_name[0] <= '9' : entry->d_name[0] != '.')
            say("%s\"%s\"", count++ ? ", " : "", entry->d_name);
    say("]");
    if (folder)
        closedir(folder);
}

static int lines_of(const char *path) {
    FILE *file = fopen(path, "r");
    int c, lines = 0;
    while (file && (c = getc(file)) != EOF)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

static void first_line(const char *name, const char *path) {
    char line[128] = "";
    FILE *file = fopen(path, "r");
    if (file && fgets(line, sizeof line, file))
        line[strcspn(line, "\n")] = 0;
    if (file)
        fclose(file);
    key(name);
    say("\"%s\"", line);
}

/* Its number is given to no other mount again: a new /tmp shows. 0: an older kernel. */
static unsigned long long mount_of(const char *path) {
    struct statx found;
    memset(&found, 0, sizeof found);
    syscall(SYS_statx, AT_FDCWD, path, 0, STATX_MNT_ID_UNIQUE, &found);
    return found.stx_mask & STATX_MNT_ID_UNIQUE ? found.stx_mnt_id : 0;
}

static void look_at_tmp(void) {
    struct stat st;
    struct statfs room;
    char names[256];
    stat("/tmp", &st);
    statfs("/tmp", &room);
    tell_number("tmp mode", st.st_mode);
    tell_number("tmp owner", st.st_uid);
    tell_number("tmp links", st.st_nlink);
    tell_number("tmp mtime", st.st_mtim.tv_sec);
    tell_number("tmp atime", st.st_atim.tv_sec);
    tell_number("tmp blocks", (long long)room.f_bfree);
    tell_number("tmp files", (long long)room.f_ffree);
    tell_number("tmp xattr", listxattr("/tmp", names, sizeof names));
    tell_number("mount", (long long)mount_of("/tmp"));
    list("tmp", "/tmp", 0);
    list("shm", "/dev/shm", 0);
}

static void look(void) {
    struct rlimit files;
    sigset_t blocked;
    cpu_set_t cores;
    umask(umask(0));
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    getrlimit(RLIMIT_NOFILE, &files);
    sched_getaffinity(0, sizeof cores, &cores);
    tell_number("pid", getpid());
    tell_number("nice", getpriority(PRIO_PROCESS, 0));
    tell_number("policy", sched_getscheduler(0));
    tell_number("files", (long long)files.rlim_cur);
    tell_number("cores", CPU_COUNT(&cores));
    tell_number("blocked", sigismember(&blocked, SIGUSR1));
    tell_number("shared segments", lines_of("/proc/sysvipc/shm"));
    tell_number("semaphores", lines_of("/proc/sysvipc/sem"));
    tell_number("queues", lines_of("/proc/sysvipc/msg"));
    tell_number("unix sockets", lines_of("/proc/net/unix"));
    tell_number("udp sockets", lines_of("/proc/net/udp"));
    first_line("sockets", "/proc/net/sockstat");
    first_line("autogroup", "/proc/self/autogroup");
    list("processes", "/proc", 1);
    list("descriptors", "/proc/self/fd", 1);
    look_at_tmp();
}

/* --- what an event may not do ----------------------------------------------------------------- */

static void namespaces(void) {
    static const struct {
        const char *name, *file;
        int flag;
    } all[] = {{"mnt", "mnt", CLONE_NEWNS},     {"user", "user", CLONE_NEWUSER},
               {"pid", "pid", CLONE_NEWPID},    {"net", "net", CLONE_NEWNET},
               {"ipc", "ipc", CLONE_NEWIPC},    {"uts", "uts", CLONE_NEWUTS},
               {"cgroup", "cgroup", 0x02000000}};
    char name[64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(name, sizeof name, "/proc/self/ns/%s", all[i].file);
        int fd = open(name, O_RDONLY);
        snprintf(name, sizeof name, "setns %s", all[i].name);
        tell(name, setns(fd, all[i].flag));
        close(fd);
        snprintf(name, sizeof name, "unshare %s", all[i].name);
        tell(name, unshare(all[i].flag));
        snprintf(name, sizeof name, "clone %s", all[i].name);
        tell(name, syscall(SYS_clone, all[i].flag | SIGCHLD, 0, 0, 0, 0));
    }
    tell("clone3", syscall(SYS_clone3, text, 88));
}

static void forbidden(void) {
    tell("chmod", chmod("/tmp", 0700));
    tell("chown", chown("/tmp", getuid(), getgid()));
    tell("xattr", setxattr("/tmp", "user.x", "y", 1, 0));
    const struct timespec never[2] = {{0, 0}, {0, 0}};
    tell("utimes", utimensat(AT_FDCWD, "/tmp", never, 0));
    tell("autogroup", open("/proc/self/autogroup", O_WRONLY));
    tell("oom_score_adj", open("/proc/self/oom_score_adj", O_WRONLY));
    tell("hostname", sethostname("x", 1));
    tell("setuid", setuid(0));
    tell("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    tell("ptrace", ptrace(PTRACE_SEIZE, 1, 0, 0));
    tell("nice", setpriority(PRIO_PROCESS, 0, -5));
    tell("sibling", syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
    tell("tmpfile", open("/tmp", O_TMPFILE | O_RDWR, 0600));
    tell("write", open("/var/task/x", O_CREAT | O_WRONLY, 0600));
    tell("gate", syscall(1000, 1, 0, 0, 0));
    tell("own filter", syscall(SYS_seccomp, 1, 1UL << 3, NULL)); /* a listener */
}

/* Whatever number a process of another slot may have. */
static void others(void) {
    const struct rlimit none = {0, 0};
    int killed = 0, reniced = 0, limited = 0;
    for (pid_t pid = 1; pid < 32768; pid++) {
        if (pid == getpid())
            continue;
        killed += kill(pid, SIGSTOP) == 0;
        reniced += setpriority(PRIO_PROCESS, (id_t)pid, 19) == 0;
        limited += prlimit(pid, RLIMIT_NOFILE, &none, NULL) == 0;
    }
    tell_number("killed", killed);
    tell_number("reniced", reniced);
    tell_number("limited", limited);
    tell("kill 1", kill(1, SIGKILL));
    tell("kill all", kill(-1, SIGKILL));
    tell("renice all", setpriority(PRIO_USER, getuid(), 19));
}

/* --- what it leaves --------------------------------------------------------------------------- */

static void ipc(void) {
    tell("shmget", shmget(77, 4096, IPC_CREAT | 0666));
    tell("semget", semget(77, 1, IPC_CREAT | 0666));
    tell("msgget", msgget(77, IPC_CREAT | 0666));
}

static void write_file(const char *path) {
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    tell(path, fd < 0 ? -1 : write(fd, "trace", 5));
}

static void fill_tmp(void) {
    static char block[1 << 20];
    int fd = open("/tmp/large", O_CREAT | O_RDWR, 0600);
    long megabytes = 0;
    while (write(fd, block, sizeof block) == (ssize_t)sizeof block)
        megabytes++;
    tell("write", -1);
    tell_number("megabytes", megabytes);
}

static void stay(void) {
    for (;;)
        pause();
}

/* A process that outlives its parents and ignores what can be ignored. */
static void leave_daemon(int stopped) {
    sigset_t all;
    pid_t child = fork();
    tell("fork", child);
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            sigfillset(&all);
            sigprocmask(SIG_SETMASK, &all, NULL);
            prctl(PR_SET_NAME, "daemon");
            if (stopped)
                kill(getpid(), SIGSTOP);
            stay();
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void *thread(void *unused) {
    stay();
    return unused;
}

static void leave_thread(void) {
    pthread_t id;
    errno = pthread_create(&id, NULL, thread, NULL);
    tell("thread", errno ? -1 : 0);
}

static void fork_often(void) {
    pid_t child = 0;
    for (int i = 0; i < 40; i++) {
        child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
    tell_number("last", child);
}

static void leave_sockets(int family, int type) {
    struct sockaddr_in6 address = {.sin6_family = (sa_family_t)family};
    int fd = socket(family, type, 0);
    tell("socket", fd);
    tell("bind", bind(fd, (struct sockaddr *)&address, family == AF_INET ? 16 : sizeof address));
}

static void leave_unix(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0trace"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    tell("bind", bind(fd, (struct sockaddr *)&address, 2 + 6));
    tell("listen", listen(fd, 5));
}

static int send_descriptors(int to, const int *fds, int count) {
    char control[CMSG_SPACE(2 * sizeof(int))] = {0}, byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(head), fds, (size_t)count * sizeof(int));
    return (int)sendmsg(to, &message, 0);
}

/* Sockets in flight within one another, a file of /tmp with each: they live on until the
 * kernel looks for such, some time after their process. */
static void leave_cycles(void) {
    int pairs = 0, ends[2], file = open("/tmp/flying", O_CREAT | O_RDWR, 0600);
    while (pairs < 400 && socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0) {
        const int first[2] = {file, ends[0]};
        if (send_descriptors(ends[1], first, 2) < 0 || send_descriptors(ends[0], ends + 1, 1) < 0)
            break;
        close(ends[0]);
        close(ends[1]);
        pairs++;
    }
    tell_number("pairs", pairs);
}

static void eat(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        memset(block, 1, 1 << 20);
    }
}

static void change_itself(void) {
    const struct rlimit few = {10, 10};
    cpu_set_t one;
    sigset_t all;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sigfillset(&all);
    tell("nice", setpriority(PRIO_PROCESS, 0, 19));
    tell("limit", setrlimit(RLIMIT_NOFILE, &few));
    tell("block", sigprocmask(SIG_SETMASK, &all, NULL));
    tell("session", setsid()); /* refused: it leads its process group */
    tell("folder", chdir("/tmp"));
    sched_setaffinity(0, sizeof one, &one);
    umask(0777);
    setenv("TRACE", "1", 1);
}

static volatile sig_atomic_t caught;

static void catch (int number) {
    caught = number;
}

/* Until the test has done to the slot what it wants: it sends SIGUSR1 once that is caught. */
static void hold(void) {
    sigset_t set, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR1, catch);
    sigsuspend(&none);
    tell_number("signal", caught);
}

/* --- which one ----------------------------------------------------------------------------------
 */

static void files(const char *what) {
    const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    if (!strcmp(what, "file")) {
        write_file("/tmp/trace");
    } else if (!strcmp(what, "file gone")) {
        write_file("/tmp/trace");
        tell("unlink", unlink("/tmp/trace"));
    } else if (!strcmp(what, "folder")) {
        tell("mkdir", mkdir("/tmp/folder", 0700));
        write_file("/tmp/folder/trace");
    } else if (!strcmp(what, "shm")) {
        tell("shm_open", shm_open("/trace", O_CREAT | O_RDWR, 0600));
    } else if (!strcmp(what, "touch")) {
        tell("utimes", utimensat(AT_FDCWD, "/tmp", now, 0));
    } else if (!strcmp(what, "fill")) {
        fill_tmp();
    } else if (!strcmp(what, "watch")) {
        tell("watch", inotify_add_watch(inotify_init(), "/tmp", IN_ALL_EVENTS));
        tell("open", open("/tmp", O_RDONLY | O_DIRECTORY));
    }
}

static void act(const char *what) {
    files(what);
    if (!strcmp(what, "look"))
        look();
    else if (!strcmp(what, "namespaces"))
        namespaces();
    else if (!strcmp(what, "forbidden"))
        forbidden();
    else if (!strcmp(what, "others"))
        others();
    else if (!strcmp(what, "ipc"))
        ipc();
    else if (!strcmp(what, "shmget"))
        tell("shmget", shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0666));
    else if (!strcmp(what, "semget"))
        tell("semget", semget(IPC_PRIVATE, 1, IPC_CREAT | 0666));
    else if (!strcmp(what, "msgget"))
        tell("msgget", msgget(IPC_PRIVATE, IPC_CREAT | 0666));
    else if (!strcmp(what, "mq_open"))
        tell("mq_open", mq_open("/trace", O_CREAT | O_RDWR, 0600, NULL));
    else if (!strcmp(what, "inet"))
        leave_sockets(AF_INET, SOCK_DGRAM);
    else if (!strcmp(what, "inet6"))
        leave_sockets(AF_INET6, SOCK_STREAM);
    else if (!strcmp(what, "unix"))
        leave_unix();
    else if (!strcmp(what, "cycles"))
        leave_cycles();
    else if (!strcmp(what, "daemon"))
        leave_daemon(0);
    else if (!strcmp(what, "stopped"))
        leave_daemon(1);
    else if (!strcmp(what, "thread"))
        leave_thread();
    else if (!strcmp(what, "forks"))
        fork_often();
    else if (!strcmp(what, "eat"))
        eat();
    else if (!strcmp(what, "change"))
        change_itself();
    else if (!strcmp(what, "hold"))
        hold();
    else if (!strcmp(what, "die"))
        kill(getpid(), SIGKILL);
}

int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    char what[64] = "";
    sscanf(event->data, "{\"do\": \"%63[^\"]", what);
    used = 0;
    say("{");
    act(what);
    say("}");
    return fnrun_result_write(result, text, used);
}
