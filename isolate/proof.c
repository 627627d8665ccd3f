/* Verification from outside: what the zygote, its frozen copy and the process of an event are,
 * by the kernel's own account. They cannot run while they are looked at. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/keeper_core.h"
#include "isolate/launcher.h"

#define STATUS_BYTES 4096

/* PROCMAP_QUERY of <linux/fs.h>, Linux 6.11. */
struct map_query {
    uint64_t size, flags, address;
    uint64_t start, end, vma_flags, page_size, offset, inode;
    uint32_t dev_major, dev_minor, name_size, build_id_size;
    uint64_t name, build_id;
};
#define MAP_QUERY         _IOWR('f', 17, struct map_query)
#define MAP_QUERY_SHARED  0x08
#define MAP_QUERY_OR_NEXT 0x10

__attribute__((format(printf, 3, 4))) static int refuse(char *why, size_t size, const char *format,
                                                        ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return -1;
}

/* owner, unless NULL: the process's user, or 0 where it is not dumpable. */
static int read_status(pid_t pid, char text[STATUS_BYTES], uid_t *owner) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, STATUS_BYTES - 1);
    struct stat st;
    if (length < 0 || fstat(fd, &st) < 0)
        return -1;
    if (owner)
        *owner = st.st_uid;
    text[length] = 0;
    return 0;
}

/* The value of a line, up to its end, or NULL. */
static const char *find_line(const char *text, const char *key, char *value, size_t size) {
    const char *at = strstr(text, key);
    if (!at)
        return NULL;
    at += strlen(key);
    at += strspn(at, "\t ");
    snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
    return value;
}

static long find_number(const char *text, const char *key) {
    char value[32];
    return find_line(text, key, value, sizeof value) ? strtol(value, NULL, 10) : -1;
}

unsigned proof_own_filters(void) {
    char text[STATUS_BYTES];
    long count =
        read_status(getpid(), text, NULL) == 0 ? find_number(text, "\nSeccomp_filters:") : 0;
    return count > 0 ? (unsigned)count : 0;
}

/* --- descriptors ---------------------------------------------------------------------- */

/* From 6.2 on st_size of /proc/PID/fd is how many there are; before, it is 0 always. */
bool proof_counts_fds(void) {
    struct stat st;
    return stat("/proc/self/fd", &st) == 0 && st.st_size > 0;
}

/* A descriptor above `highest`, or -1 where there is none. */
static int find_descriptor(int dir, int highest) {
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *list = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    if (!list)
        return 9999;
    while ((entry = readdir(list)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) > highest)
            return atoi(entry->d_name);
    return -1;
}

static bool has_descriptors(const struct keeper *k, int dir) {
    struct stat st;
    if (k->counts_fds)
        return fstat(dir, &st) < 0 || st.st_size > 0;
    return find_descriptor(dir, -1) >= 0;
}

static void describe_descriptor(pid_t pid, int fd, char *text, size_t size) {
    char path[48], target[100];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    snprintf(text, size, "%s", target);
}

/* --- shared mappings --------------------------------------------------------------------- */

/* smaps says `sh` of a mapping whose file was opened for writing: it is, or can be made,
 * writable. `ms` alone is a file that was opened for reading. */
static bool is_harmless(pid_t pid, uint64_t start, char *name, size_t size) {
    char path[40], line[512], wanted[40];
    bool here = false;
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    snprintf(wanted, sizeof wanted, "%" PRIx64 "-", start);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (file)
        setvbuf(file, NULL, _IOFBF, 65536); /* each read walks the mappings anew */
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, wanted, strlen(wanted)) == 0) {
            const char *path_at = strchr(line, '/');
            here = true;
            snprintf(name, size, "%.*s", path_at ? (int)strcspn(path_at, "\n") : 9,
                     path_at ? path_at : "anonymous");
        } else if (here && strncmp(line, "VmFlags:", 8) == 0) {
            return strstr(line, " sh") == NULL;
        }
    }
    return false;
}

/* The next mapping at or after address that may be shared. 1: found, 0: none, -1: unknown. */
static int next_shared(int maps, uint64_t address, struct map_query *found) {
    *found = (struct map_query){
        .size = sizeof *found,
        .flags = MAP_QUERY_SHARED | MAP_QUERY_OR_NEXT,
        .address = address,
    };
    if (ioctl(maps, MAP_QUERY, found) == 0)
        return 1;
    return errno == ENOENT ? 0 : -1;
}

/* The same where the kernel has no such query: from the text. */
static int next_shared_in_text(pid_t pid, uint64_t address, struct map_query *found) {
    char path[40], line[512], mode[8];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof line, file)) {
        uint64_t start, end, inode;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %" SCNu64, &start, &end, mode,
                   &inode) == 4 &&
            start >= address && mode[3] == 's') {
            *found = (struct map_query){.start = start, .end = end, .inode = inode};
            return 1;
        }
    }
    return 0;
}

static int step_shared(int maps, pid_t pid, uint64_t address, struct map_query *found) {
    int r = maps >= 0 ? next_shared(maps, address, found) : -1;
    return r < 0 ? next_shared_in_text(pid, address, found) : r;
}

/* All that may be shared, each judged; they are then known. */
static int judge_shared(pid_t pid, int maps, struct shared_list *list, char *why, size_t size) {
    struct map_query found;
    char name[200] = "";
    int r;
    list->count = 0;
    for (uint64_t at = 0; (r = step_shared(maps, pid, at, &found)) == 1; at = found.end) {
        if (!is_harmless(pid, found.start, name, sizeof name))
            return refuse(why, size, "shared memory: a writable shared mapping of %s", name);
        if (list->count == SHARED_KNOWN)
            return refuse(why, size, "shared memory: more than %d shared mappings", SHARED_KNOWN);
        list->known[list->count].start = found.start;
        list->known[list->count].end = found.end;
        list->known[list->count++].inode = found.inode;
    }
    return r < 0 ? refuse(why, size, "its mappings cannot be read") : 0;
}

/* Whether they are those that were judged. */
static int same_shared(pid_t pid, int maps, const struct shared_list *list, char *why,
                       size_t size) {
    struct map_query found;
    unsigned count = 0;
    int r;
    for (uint64_t at = 0; (r = step_shared(maps, pid, at, &found)) == 1; at = found.end, count++)
        if (count >= list->count || found.start != list->known[count].start ||
            found.end != list->known[count].end || found.inode != list->known[count].inode)
            return refuse(why, size, "shared memory: a new shared mapping");
    return r < 0 ? refuse(why, size, "its mappings cannot be read") : 0;
}

static int open_maps(pid_t pid) {
    char path[40];
    struct map_query found;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && next_shared(fd, 0, &found) < 0)
        cleanup_close(&fd);
    return fd;
}

/* --- the zygote ------------------------------------------------------------------------------ */

/* What it was loading when it made threads, for people: the names of its threads. */
static void describe_threads(pid_t pid, char *text, size_t size) {
    char path[300], name[32];
    size_t used = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    _cleanup_closedir_ DIR *list = opendir(path);
    struct dirent *entry;
    *text = 0;
    while (list && (entry = readdir(list)) && used + 40 < size) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == pid)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/comm", (int)pid, entry->d_name);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
        if (length > 1)
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", used ? ", " : "",
                                     (int)length - 1, name);
    }
}

static int proof_zygote_descriptors(struct keeper *k, char *why, size_t size) {
    char path[40], target[104];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)k->zygote.pid);
    _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int extra = dir < 0 ? 9999 : find_descriptor(dir, 2);
    if (dir < 0)
        return refuse(why, size, "the zygote cannot be looked at");
    if (extra < 0)
        return 0;
    describe_descriptor(k->zygote.pid, extra, target, sizeof target);
    return refuse(why, size, "an open file after loading: descriptor %d (%s)", extra, target);
}

int proof_zygote(struct keeper *k, char *why, size_t size) {
    struct zygote *z = &k->zygote;
    char text[STATUS_BYTES], names[128];
    if (read_status(z->pid, text, NULL) < 0)
        return refuse(why, size, "the zygote cannot be looked at");
    long threads = find_number(text, "\nThreads:");
    if (threads != 1) {
        describe_threads(z->pid, names, sizeof names);
        return refuse(why, size, "threads: %ld after loading (%s)", threads, names);
    }
    /* A copy on its way is counted here until it has moved to its slot; that nothing else
     * stays is looked at when it is frozen. */
    bool leaving = z->making && z->cloned;
    int processes = leaf_count(&z->leaf);
    if (processes < 1 || processes > 1 + leaving)
        return refuse(why, size, "processes: %d after loading", processes);
    if (proof_zygote_descriptors(k, why, size) < 0)
        return -1;
    _cleanup_close_ int maps = open_maps(z->pid);
    return judge_shared(z->pid, maps, &z->shared, why, size);
}

/* --- the frozen copy ----------------------------------------------------------------------------
 */

static int proof_status(struct keeper *k, struct kslot *slot, char *why, size_t size) {
    static const char *const empty[] = {"\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapAmb:"};
    char text[STATUS_BYTES], value[128], ids[64];
    unsigned id = ENVIRONMENT_SLOT_ID + slot->number;
    uid_t owner;
    if (read_status(slot->copy, text, &owner) < 0)
        return refuse(why, size, "the copy cannot be looked at");
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
        if (!find_line(text, empty[i], value, sizeof value) ||
            strcmp(value, "0000000000000000") != 0)
            return refuse(why, size, "the copy kept capabilities (%s %s)", empty[i] + 1, value);
    snprintf(ids, sizeof ids, "%u\t%u\t%u\t%u", id, id, id, id);
    if (!find_line(text, "\nUid:", value, sizeof value) || strcmp(value, ids) != 0)
        return refuse(why, size, "the copy has the user ids %s", value);
    if (!find_line(text, "\nGid:", value, sizeof value) || strcmp(value, ids) != 0)
        return refuse(why, size, "the copy has the group ids %s", value);
    if (owner != id)
        return refuse(why, size, "the copy is not dumpable");
    if (find_line(text, "\nGroups:", value, sizeof value) && value[0])
        return refuse(why, size, "the copy has supplementary groups");
    if (find_number(text, "\nNoNewPrivs:") != 1 || find_number(text, "\nSeccomp:") != 2)
        return refuse(why, size, "the copy is not under the filter");
    if (find_number(text, "\nSeccomp_filters:") != (long)k->filters + 1)
        return refuse(why, size, "the copy has other filters");
    if (find_number(text, "\nThreads:") != 1)
        return refuse(why, size, "the copy has more than one thread");
    return 0;
}

static int proof_namespaces(struct kslot *slot, bool host_network, char *why, size_t size) {
    static const char *const names[GATE_NAMESPACES] = {"pid_for_children", "mnt", "ipc", "uts",
                                                       "cgroup",           "net"};
    char path[64];
    struct stat copy, own;
    for (int i = 0; i < GATE_NAMESPACES; i++) {
        if (host_network && i == GATE_NAMESPACES - 1)
            continue;
        snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)slot->copy, names[i]);
        if (stat(path, &copy) < 0 || fstat(slot->namespaces[i], &own) < 0 ||
            copy.st_ino != own.st_ino)
            return refuse(why, size, "the copy is not in the slot's %s namespace", names[i]);
    }
    return 0;
}

/* The groups of init, which trusted code moved, are the slot's. */
static int proof_groups(struct kslot *slot, char *why, size_t size) {
    char path[40], texts[2][2048];
    pid_t pids[2] = {slot->copy, slot->init};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pids[i]);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? -1 : read(fd, texts[i], sizeof texts[i] - 1);
        if (length <= 0)
            return refuse(why, size, "its control groups cannot be read");
        texts[i][length] = 0;
    }
    if (strcmp(texts[0], texts[1]) != 0)
        return refuse(why, size, "the copy is not in the slot's control groups");
    int processes = leaf_count(&slot->leaf);
    return processes == 2 ? 0 : refuse(why, size, "processes in the slot: %d, not 2", processes);
}

/* The mount that a path leads to: its number is its own in every mount namespace. */
static bool find_mount(pid_t pid, const char *name, struct statx *found) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return syscall(SYS_statx, AT_FDCWD, path, 0, STATX_INO | STATX_MNT_ID, found) == 0 &&
           (found->stx_mask & STATX_MNT_ID);
}

static bool same_place(const struct statx *a, const struct statx *b) {
    return a->stx_mnt_id == b->stx_mnt_id && a->stx_ino == b->stx_ino;
}

/* A directory kept from the zygote's mount namespace would lead to its /tmp. */
static int proof_place(struct kslot *slot, char *why, size_t size) {
    struct statx root, cwd, own_root, own_task;
    if (!find_mount(slot->copy, "root", &root) || !find_mount(slot->copy, "cwd", &cwd) ||
        !find_mount(slot->init, "root", &own_root) ||
        !find_mount(slot->init, "root/var/task", &own_task))
        return refuse(why, size, "the copy's place cannot be looked at");
    if (!same_place(&root, &own_root))
        return refuse(why, size, "the copy's root is elsewhere");
    if (!same_place(&cwd, &own_root) && !same_place(&cwd, &own_task))
        return refuse(why, size, "the copy's working directory is elsewhere");
    return 0;
}

/* kcmp: 0 is "the same object". */
static int proof_apart(struct keeper *k, pid_t one, pid_t other, char *why, size_t size) {
    static const struct {
        int type;
        const char *name;
    } kinds[] = {{KCMP_VM, "memory"},
                 {KCMP_FILES, "descriptors"},
                 {KCMP_FS, "file system state"},
                 {KCMP_SIGHAND, "signal handlers"}};
    (void)k;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        long r = syscall(SYS_kcmp, one, other, kinds[i].type, 0, 0);
        if (r == 0)
            return refuse(why, size, "%s shared with the zygote", kinds[i].name);
        if (r < 0 && errno != EOPNOTSUPP)
            return refuse(why, size, "kcmp: %s", strerror(errno));
    }
    return 0;
}

static bool is_child(pid_t pid) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

static int open_copy(struct kslot *slot) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)slot->copy);
    slot->copy_fds = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    slot->copy_maps = open_maps(slot->copy);
    snprintf(path, sizeof path, "/proc/%d/autogroup", (int)slot->copy);
    slot->copy_autogroup = open(path, O_RDONLY | O_CLOEXEC); /* not in every kernel */
    if (slot->copy_autogroup >= 0) {
        ssize_t length =
            pread(slot->copy_autogroup, slot->autogroup, sizeof slot->autogroup - 1, 0);
        slot->autogroup[length < 0 ? 0 : length] = 0;
    }
    return slot->copy_fds < 0 ? -1 : 0;
}

int proof_copy(struct keeper *k, struct kslot *slot, char *why, size_t size) {
    if (!is_child(slot->copy))
        return refuse(why, size, "the copy is not the keeper's child");
    if (open_copy(slot) < 0)
        return refuse(why, size, "the copy cannot be looked at");
    if (getsid(slot->copy) != slot->copy)
        return refuse(why, size, "the copy has no session of its own");
    if (proof_status(k, slot, why, size) < 0 ||
        proof_namespaces(slot, k->config.host_network, why, size) < 0 ||
        proof_groups(slot, why, size) < 0)
        return -1;
    int left = leaf_count(&k->zygote.leaf);
    if (left != 1)
        return refuse(why, size, "processes beside the zygote: %d", left - 1);
    if (proof_place(slot, why, size) < 0 ||
        proof_apart(k, k->zygote.pid, slot->copy, why, size) < 0)
        return -1;
    if (has_descriptors(k, slot->copy_fds))
        return refuse(why, size, "the copy has open descriptors");
    return judge_shared(slot->copy, slot->copy_maps, &slot->shared, why, size);
}

/* --- the process of an event -------------------------------------------------------------------
 */

int proof_process(struct keeper *k, struct kslot *slot, char *why, size_t size) {
    int processes = leaf_count(&slot->leaf);
    if (processes != 3)
        return refuse(why, size, "processes in the slot: %d, not 3", processes);
    if (!is_child(slot->process))
        return refuse(why, size, "the process is not the keeper's child");
    if (getpgid(slot->process) != slot->process)
        return refuse(why, size, "the process has no process group of its own");
    if (syscall(SYS_kcmp, slot->copy, slot->process, KCMP_VM, 0, 0) <= 0)
        return refuse(why, size, "memory shared with the frozen copy");
    if (has_descriptors(k, slot->copy_fds))
        return refuse(why, size, "the frozen copy has open descriptors");
    return same_shared(slot->copy, slot->copy_maps, &slot->shared, why, size);
}
