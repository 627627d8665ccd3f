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
#define EXTENTS   3         /* of the longest map that is written here */

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

struct extent { /* of a map: `count` ids from `inside` on are those from `outside` on */
    uint32_t inside, outside, count;
};

static int write_extents(pid_t pid, const char *file, const struct extent *extents, int count,
                         struct error *err) {
    char text[EXTENTS * 36];
    size_t used = 0;
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%u %u %u\n", extents[i].inside,
                                 extents[i].outside, extents[i].count);
    return write_map(pid, file, text, err);
}

/* newuidmap PID INSIDE OUTSIDE COUNT ..., and the same for groups. */
static int run_helper(const char *program, pid_t pid, const struct extent *extents, int count,
                      struct error *err) {
    char texts[1 + 3 * EXTENTS][12];
    char *arguments[3 + 3 * EXTENTS] = {(char *)program, texts[0]};
    char *environment[] = {NULL};
    snprintf(texts[0], sizeof texts[0], "%d", (int)pid);
    for (int i = 0; i < count; i++) {
        const uint32_t numbers[] = {extents[i].inside, extents[i].outside, extents[i].count};
        for (int k = 0; k < 3; k++) {
            snprintf(texts[1 + 3 * i + k], sizeof texts[0], "%u", numbers[k]);
            arguments[2 + 3 * i + k] = texts[1 + 3 * i + k];
        }
    }
    pid_t child;
    int status;
    int r = posix_spawn(&child, program, NULL, NULL, arguments, environment);
    if (r)
        return error_set(err, -r, "%s cannot be started: %s", program, strerror(r));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set(err, -errno, "%s: wait: %s", program, strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(err, -EPERM, "%s refused the map 0:%u, %u:%u (its own words stand above)",
                         program, extents[0].outside, extents[1].inside, extents[1].outside);
    return 0;
}

/* The one id of a single-id map. */
static int write_single(pid_t pid, struct error *err) {
    struct extent uid = {IDMAP_FUNCTION_ID, geteuid(), 1};
    struct extent gid = {IDMAP_FUNCTION_ID, getegid(), 1};
    /* Without CAP_SETGID outside, the kernel takes a gid map only after this. */
    int r = write_map(pid, "setgroups", "deny", err);
    if (r == 0)
        r = write_extents(pid, "uid_map", &uid, 1, err);
    return r < 0 ? r : write_extents(pid, "gid_map", &gid, 1, err);
}

/* Both maps, by the way that this caller has. */
static int write_both(const struct idmap *ids, pid_t pid, const struct extent *uids,
                      const struct extent *gids, int count, struct error *err) {
    bool helped = ids->kind == IDMAP_SUBORDINATE;
    int r = helped ? run_helper("/usr/bin/newuidmap", pid, uids, count, err)
                   : write_extents(pid, "uid_map", uids, count, err);
    if (r < 0)
        return r;
    return helped ? run_helper("/usr/bin/newgidmap", pid, gids, count, err)
                  : write_extents(pid, "gid_map", gids, count, err);
}

int idmap_write(const struct idmap *ids, uint32_t block, pid_t pid, struct error *err) {
    if (ids->kind == IDMAP_SINGLE)
        return write_single(pid, err);
    struct extent uids[] = {{0, geteuid(), 1}, {IDMAP_FUNCTION_ID, ids->uid_start + block, 1}};
    struct extent gids[] = {{0, getegid(), 1}, {IDMAP_FUNCTION_ID, ids->gid_start + block, 1}};
    if (ids->kind == IDMAP_RANGE) {
        uids[0].outside = ids->uid_start + block * IDMAP_BLOCK;
        gids[0].outside = ids->gid_start + block * IDMAP_BLOCK;
        uids[1].outside = uids[0].outside + 1;
        gids[1].outside = gids[0].outside + 1;
    }
    return write_both(ids, pid, uids, gids, 2, err);
}

/* ---- environments ------------------------------------------------------------------ */

uint32_t idmap_environment_blocks(const struct idmap *ids) {
    uint32_t least = ids->uid_count < ids->gid_count ? ids->uid_count : ids->gid_count;
    if (ids->kind == IDMAP_RANGE)
        return ids->blocks;
    if (ids->kind == IDMAP_SINGLE || least < CLAIM_BLOCKS + IDMAP_BLOCK)
        return 0;
    uint32_t blocks = (least - CLAIM_BLOCKS) / IDMAP_BLOCK;
    return blocks > CLAIM_BLOCKS ? CLAIM_BLOCKS : blocks;
}

void idmap_environment(const struct idmap *ids, uint32_t block,
                       struct idmap_environment *environment) {
    bool own = ids->kind == IDMAP_RANGE;
    uint32_t first = block * IDMAP_BLOCK + (own ? 0 : CLAIM_BLOCKS);
    environment->keeper_uid = own ? ids->uid_start + first : geteuid();
    environment->keeper_gid = own ? ids->gid_start + first : getegid();
    environment->zygote_uid = ids->uid_start + first + 1;
    environment->zygote_gid = ids->gid_start + first + 1;
    environment->slot_uid = environment->zygote_uid + 1;
    environment->slot_gid = environment->zygote_gid + 1;
}

_Static_assert(2 + IDMAP_SLOTS + 1 < IDMAP_BLOCK, "an environment leaves its block's last id");

void idmap_language(const struct idmap *ids, uint32_t *uid, uint32_t *gid) {
    bool own = ids->kind == IDMAP_RANGE;
    *uid = own ? ids->uid_start + (ids->uid_count - 1) : geteuid();
    *gid = own ? ids->gid_start + (ids->gid_count - 1) : getegid();
}

int idmap_write_environment(const struct idmap *ids, uint32_t block, pid_t pid, uint32_t slots,
                            struct error *err) {
    struct idmap_environment host;
    if (slots < 1 || slots > IDMAP_SLOTS + 1 || block >= idmap_environment_blocks(ids))
        return error_set(err, -EOPNOTSUPP, "an environment of %u slots has no ids: %s", slots,
                         ids->kind == IDMAP_SINGLE ? ids->why_single : "the range is too small");
    idmap_environment(ids, block, &host);
    const struct extent uids[] = {{0, host.keeper_uid, 1},
                                  {IDMAP_ZYGOTE_ID, host.zygote_uid, 1},
                                  {IDMAP_SLOT_ID, host.slot_uid, slots}};
    const struct extent gids[] = {{0, host.keeper_gid, 1},
                                  {IDMAP_ZYGOTE_ID, host.zygote_gid, 1},
                                  {IDMAP_SLOT_ID, host.slot_gid, slots}};
    return write_both(ids, pid, uids, gids, EXTENTS, err);
}

int idmap_write_nested(pid_t pid, uint32_t slots, struct error *err) {
    const struct extent same[] = {
        {0, 0, 1}, {IDMAP_ZYGOTE_ID, IDMAP_ZYGOTE_ID, 1}, {IDMAP_SLOT_ID, IDMAP_SLOT_ID, slots}};
    int r = write_extents(pid, "uid_map", same, EXTENTS, err);
    return r < 0 ? r : write_extents(pid, "gid_map", same, EXTENTS, err);
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
