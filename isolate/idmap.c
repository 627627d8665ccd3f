#include "isolate/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/claim.h"
#include "isolate/cleanup.h"
#include "isolate/file.h"

#define SUBID_MAX (1 << 20) /* bytes of /etc/subuid that are read */

struct range {
    char owner[64];
    uint64_t start, count;
    unsigned line;
};

/* One line `owner:start:count` of subuid(5). Returns 1, 0 (blank or comment) or
 * -EINVAL. */
static int parse_range(const char *line, struct range *range) {
    if (!*line || *line == '#')
        return 0;
    const char *colon = strchr(line, ':');
    if (!colon || colon == line || (size_t)(colon - line) >= sizeof range->owner)
        return -EINVAL;
    memcpy(range->owner, line, (size_t)(colon - line));
    range->owner[colon - line] = 0;
    char *end;
    errno = 0;
    range->start = strtoull(colon + 1, &end, 10);
    if (errno || end == colon + 1 || *end != ':')
        return -EINVAL;
    const char *count = end + 1;
    range->count = strtoull(count, &end, 10);
    if (errno || end == count || *end || range->start > UINT32_MAX ||
        range->count > (uint64_t)UINT32_MAX + 1 - range->start)
        return -EINVAL;
    return 1;
}

/* Calls visit for every range of the text of a file, in order. */
static int each_range(const char *path, const char *text,
                      void (*visit)(const struct range *, void *), void *data, struct error *err) {
    unsigned number = 0;
    for (const char *at = text; *at; at += *at == '\n') {
        char line[256];
        struct range range;
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        at += length;
        int is = length < sizeof line ? parse_range(line, &range) : -EINVAL;
        range.line = ++number;
        /* A broken line of somebody else's is not ours to complain about. */
        if (is > 0)
            visit(&range, data);
        else if (is < 0 && strncmp(line, IDMAP_OWNER ":", sizeof IDMAP_OWNER) == 0)
            return error_set(err, -EINVAL,
                             "%s:%u: expected " IDMAP_OWNER ":START:COUNT, got \"%.80s\"", path,
                             number, line);
    }
    return 0;
}

struct search {
    const char *name, *number; /* owners that match */
    struct range found;
    struct range overlap;
};

static void find_owner(const struct range *range, void *data) {
    struct search *search = data;
    if (!search->found.count && ((search->name && strcmp(range->owner, search->name) == 0) ||
                                 (search->number && strcmp(range->owner, search->number) == 0)))
        search->found = *range;
}

static void find_overlap(const struct range *range, void *data) {
    struct search *search = data;
    const struct range *own = &search->found;
    if (!search->overlap.count && strcmp(range->owner, own->owner) != 0 &&
        range->start < own->start + own->count && own->start < range->start + range->count)
        search->overlap = *range;
}

/* The range that path reserves for name (or number), checked against the others. */
static int reserved_range(const char *path, const char *name, const char *number,
                          struct range *range, struct error *err) {
    struct search search = {.name = name, .number = number};
    _cleanup_free_ char *text = NULL;
    int r = file_read(path, SUBID_MAX, &text);
    if (r < 0 && r != -ENOENT)
        return error_set(err, r, "%s: cannot be read: %s", path, strerror(-r));
    if (r == 0)
        r = each_range(path, text, find_owner, &search, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!search.found.count)
        return error_set(err, -ENOENT, "%s reserves no ids for %s", path, name ? name : number);
    r = each_range(path, text, find_overlap, &search, err);
    if (r < 0)
        return r;
    if (search.overlap.count)
        return error_set(
            err, -EEXIST,
            "%s:%u: the ids of %s (%llu to %llu) overlap those of %s (line %u): two owners of "
            "one id are not isolated from each other. Move one of the two ranges",
            path, search.found.line, search.found.owner, (unsigned long long)search.found.start,
            (unsigned long long)(search.found.start + search.found.count - 1), search.overlap.owner,
            search.overlap.line);
    *range = search.found;
    return 0;
}

/* The login name of uid from /etc/passwd (no NSS in a static program: accounts
 * from elsewhere are found by LOGNAME or by number). Empty when not found. */
static void login_name(const char *etc, uid_t uid, char *name, size_t size) {
    name[0] = 0;
    char path[256];
    _cleanup_free_ char *text = NULL;
    snprintf(path, sizeof path, "%s/passwd", etc);
    if (file_read(path, SUBID_MAX, &text) == 0) {
        for (char *line = text, *end; line && *line; line = end ? end + 1 : NULL) {
            end = strchr(line, '\n');
            if (end)
                *end = 0;
            char *colon = strchr(line, ':');
            char *number = colon ? strchr(colon + 1, ':') : NULL;
            if (!number || strtoul(number + 1, NULL, 10) != uid || number[1] < '0' ||
                number[1] > '9')
                continue;
            *colon = 0;
            snprintf(name, size, "%s", line);
            return;
        }
    }
    const char *env = getenv("LOGNAME");
    if (env)
        snprintf(name, size, "%s", env);
}

/* The ranges of both files; *least is what the smaller one holds. */
static int both_ranges(const char *etc, const char *name, const char *number, struct idmap *ids,
                       uint64_t *least, struct error *err) {
    struct range uids, gids;
    char path[256];
    snprintf(path, sizeof path, "%s/subuid", etc);
    int r = reserved_range(path, name, number, &uids, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/subgid", etc);
    r = reserved_range(path, name, number, &gids, err);
    if (r < 0)
        return r;
    ids->uid_start = (uint32_t)uids.start;
    ids->uid_count = (uint32_t)uids.count;
    ids->gid_start = (uint32_t)gids.start;
    ids->gid_count = (uint32_t)gids.count;
    *least = uids.count < gids.count ? uids.count : gids.count;
    return 0;
}

static int find_reserved(const char *etc, struct idmap *ids, struct error *err) {
    uint64_t least;
    int r = both_ranges(etc, IDMAP_OWNER, NULL, ids, &least, err);
    if (r == -ENOENT)
        return error_set(err, r,
                         "no host ids are reserved for functions (the owner " IDMAP_OWNER
                         " in /etc/subuid and /etc/subgid). Run ./bootstrap as root, or: "
                         "echo " IDMAP_OWNER
                         ":1879048192:1048576 | tee -a /etc/subuid /etc/subgid");
    if (r < 0)
        return r;
    if (least < IDMAP_BLOCK)
        return error_set(err, -EINVAL,
                         "%s/subuid: the range of " IDMAP_OWNER " has %llu ids; %d is the least",
                         etc, (unsigned long long)least, IDMAP_BLOCK);
    ids->kind = IDMAP_RANGE;
    uint64_t blocks = least / IDMAP_BLOCK;
    ids->blocks = blocks > CLAIM_BLOCKS ? CLAIM_BLOCKS : (uint32_t)blocks;
    return 0;
}

static void single(struct idmap *ids, const char *why) {
    ids->kind = IDMAP_SINGLE;
    ids->blocks = CLAIM_BLOCKS;
    snprintf(ids->why_single, sizeof ids->why_single, "%s", why);
}

static int find_subordinate(const char *etc, uid_t euid, struct idmap *ids, struct error *err) {
    char name[64], number[16];
    uint64_t least;
    login_name(etc, euid, name, sizeof name);
    snprintf(number, sizeof number, "%u", (unsigned)euid);
    if (access("/usr/bin/newuidmap", X_OK) < 0 || access("/usr/bin/newgidmap", X_OK) < 0) {
        single(ids, "newuidmap is missing: apt-get install uidmap");
        return 0;
    }
    int r = both_ranges(etc, name, number, ids, &least, err);
    if (r == -ENOENT) {
        char why[sizeof ids->why_single];
        snprintf(why, sizeof why,
                 "no subordinate ids: sudo usermod --add-subuids 100000-165535 --add-subgids "
                 "100000-165535 %s",
                 name);
        single(ids, why);
        return 0;
    }
    if (r < 0)
        return r;
    ids->kind = IDMAP_SUBORDINATE;
    ids->blocks = least > CLAIM_BLOCKS ? CLAIM_BLOCKS : (uint32_t)least;
    return 0;
}

int idmap_find_from(struct idmap *ids, const char *etc, uid_t euid, struct error *err) {
    memset(ids, 0, sizeof *ids);
    return euid == 0 ? find_reserved(etc, ids, err) : find_subordinate(etc, euid, ids, err);
}

int idmap_find(struct idmap *ids, struct error *err) {
    return idmap_find_from(ids, "/etc", geteuid(), err);
}

static int write_map(pid_t pid, const char *file, const char *text, struct error *err) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        int code = -errno;
        return error_set(err, code, "the id map \"%s\" cannot be written to %s: %s", text, path,
                         strerror(-code));
    }
    return 0;
}

/* newuidmap PID 0 SELF 1 1000 SUBORDINATE 1, and the same for groups. */
static int run_helper(const char *program, pid_t pid, uint32_t self, uint32_t subordinate,
                      struct error *err) {
    char texts[3][16];
    snprintf(texts[0], sizeof texts[0], "%d", (int)pid);
    snprintf(texts[1], sizeof texts[1], "%u", self);
    snprintf(texts[2], sizeof texts[2], "%u", subordinate);
    char *arguments[] = {(char *)program, texts[0], "0", texts[1], "1",
                         "1000",          texts[2], "1", NULL};
    char *environment[] = {NULL};
    pid_t child;
    int status;
    int r = posix_spawn(&child, program, NULL, NULL, arguments, environment);
    if (r)
        return error_set(err, -r, "%s cannot be started: %s", program, strerror(r));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set(err, -errno, "%s: wait: %s", program, strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(err, -EPERM,
                         "%s refused the map 0:%u, 1000:%u (its own words stand above)", program,
                         self, subordinate);
    return 0;
}

int idmap_write(const struct idmap *ids, uint32_t block, pid_t pid, struct error *err) {
    char uids[96], gids[96];
    int r;
    switch (ids->kind) {
    case IDMAP_RANGE: {
        uint32_t uid = ids->uid_start + block * IDMAP_BLOCK;
        uint32_t gid = ids->gid_start + block * IDMAP_BLOCK;
        snprintf(uids, sizeof uids, "0 %u 1\n%d %u 1\n", uid, IDMAP_FUNCTION_ID, uid + 1);
        snprintf(gids, sizeof gids, "0 %u 1\n%d %u 1\n", gid, IDMAP_FUNCTION_ID, gid + 1);
        break;
    }
    case IDMAP_SUBORDINATE:
        r = run_helper("/usr/bin/newuidmap", pid, geteuid(), ids->uid_start + block, err);
        if (r == 0)
            r = run_helper("/usr/bin/newgidmap", pid, getegid(), ids->gid_start + block, err);
        return r;
    default:
        snprintf(uids, sizeof uids, "%d %u 1\n", IDMAP_FUNCTION_ID, (unsigned)geteuid());
        snprintf(gids, sizeof gids, "%d %u 1\n", IDMAP_FUNCTION_ID, (unsigned)getegid());
        /* Without CAP_SETGID outside, the kernel takes a gid map only after this. */
        r = write_map(pid, "setgroups", "deny", err);
        if (r < 0)
            return r;
    }
    r = write_map(pid, "uid_map", uids, err);
    return r < 0 ? r : write_map(pid, "gid_map", gids, err);
}

const char *idmap_kind_text(int kind) {
    switch (kind) {
    case IDMAP_RANGE:
        return "ids of its own, from the range of " IDMAP_OWNER " in /etc/subuid";
    case IDMAP_SUBORDINATE:
        return "an id of its own, from the user's range in /etc/subuid";
    default:
        return "the user's own id (single-id form)";
    }
}
