#include "config.h"

#include "cli/findings.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/probe.h"
#include "cli/programs.h"
#include "cli/scope.h"
#include "isolate/cgroup.h"
#include "isolate/claim.h"
#include "isolate/cleanup.h"
#include "isolate/idmap.h"

struct finding *findings_add(struct findings *all, const char *name, bool needed) {
    struct finding *item = &all->items[all->count];
    if (all->count + 1 < FINDINGS_MAX)
        all->count++;
    memset(item, 0, sizeof *item);
    item->name = name;
    item->needed = needed;
    return item;
}

__attribute__((format(printf, 2, 3))) static void detail(struct finding *item, const char *format,
                                                         ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(item->detail, sizeof item->detail, format, args);
    va_end(args);
}

__attribute__((format(printf, 3, 4))) static void hint(struct finding *item, int state,
                                                       const char *format, ...) {
    va_list args;
    item->state = state;
    va_start(args, format);
    vsnprintf(item->hint, sizeof item->hint, format, args);
    va_end(args);
}

/* --- kernel ------------------------------------------------------------------- */

static void look_at_kernel(struct findings *all) {
    struct finding *item = findings_add(all, "kernel", true);
    struct utsname machine;
    int major = 0, minor = 0;
    uname(&machine);
    sscanf(machine.release, "%d.%d", &major, &minor);
    detail(item, "Linux %s, %s", machine.release, machine.machine);
    if (major < 5 || (major == 5 && minor < 14))
        hint(item, FINDING_MISSING,
             "too old: 5.14 at least for one-shot calls; upgrade the distribution");
    else if (major == 5 && minor < 19)
        hint(item, FINDING_WEAKER, "enough for one-shot calls; the daemon will want 5.19");
}

/* What an errno means here, where strerror's words mislead. */
static const char *why(int r) {
    switch (-r) {
    case ENOSPC:
        return "the machine's limit on their number is reached";
    case ECANCELED:
        return "the attempt was killed";
    default:
        return strerror(-r);
    }
}

#define NEEDS_USER "comes with user namespaces: see there"

/* Returns whether user namespaces work, which all else is made in. */
static bool look_at_namespaces(struct findings *all) {
    bool user = true;
    static const struct {
        const char *name, *kind;
        int flag;
    } kinds[] = {
        {"user namespaces", "user", CLONE_NEWUSER},       {"pid namespaces", "pid", CLONE_NEWPID},
        {"mount namespaces", "mnt", CLONE_NEWNS},         {"ipc namespaces", "ipc", CLONE_NEWIPC},
        {"uts namespaces", "uts", CLONE_NEWUTS},          {"net namespaces", "net", CLONE_NEWNET},
        {"cgroup namespaces", "cgroup", CLONE_NEWCGROUP},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct finding *item = findings_add(all, kinds[i].name, true);
        if (!user) {
            detail(item, "not tried");
            hint(item, FINDING_MISSING, NEEDS_USER);
            continue;
        }
        int r = probe_namespace(kinds[i].flag);
        detail(item, r == 0 ? "can be made" : "cannot be made: %s", why(r));
        if (r < 0) {
            item->state = FINDING_MISSING;
            probe_explain(r, kinds[i].kind, item->hint, sizeof item->hint);
            user = kinds[i].flag != CLONE_NEWUSER;
        }
    }
    return user;
}

/* One result of a probe that works in a user namespace. */
static void judge(struct finding *item, bool user, int r, const char *good, const char *advice) {
    if (r == 0)
        detail(item, "%s", good);
    else
        detail(item, "does not work: %s", why(r));
    if (r < 0)
        hint(item, FINDING_MISSING, "%s", user ? advice : NEEDS_USER);
}

static void look_at_mounts(struct findings *all, bool user) {
    judge(findings_add(all, "fresh /proc", true), user, probe_proc(), "can be mounted",
          "a container hides parts of /proc, and the kernel then allows no fresh one: docker run "
          "--security-opt systempaths=unconfined, or podman run --security-opt unmask=ALL");
    judge(findings_add(all, "mount calls", true), user, probe_mount_calls(),
          "open_tree, mount_setattr and move_mount work",
          "Linux 5.12 has them; in a container its seccomp profile must allow open_tree, "
          "move_mount and mount_setattr");
    judge(findings_add(all, "overlay", false), user, probe_overlay(), "can be mounted",
          "not needed yet; for image layers later: sudo modprobe overlay");
}

static void look_at_seccomp(struct findings *all) {
    struct finding *item = findings_add(all, "seccomp filters", true);
    int kill = probe_seccomp(SECCOMP_RET_KILL_PROCESS), deny = probe_seccomp(SECCOMP_RET_ERRNO);
    if (kill == 0 && deny == 0) {
        detail(item, "errno and kill_process can be used");
        return;
    }
    detail(item, "cannot be used: %s", strerror(-(kill < 0 ? kill : deny)));
    hint(item, FINDING_MISSING, "the kernel needs CONFIG_SECCOMP_FILTER: use a distribution's own");
}

/* --- ids ---------------------------------------------------------------------- */

static void look_at_capabilities(struct findings *all) {
    static const cap_value_t wanted[] = {CAP_SETUID, CAP_SETGID};
    struct finding *item = findings_add(all, "capabilities", true);
    cap_t own = cap_get_proc();
    cap_flag_value_t set;
    detail(item, "root may map host ids");
    for (size_t i = 0; own && i < sizeof wanted / sizeof *wanted; i++)
        if (cap_get_flag(own, wanted[i], CAP_EFFECTIVE, &set) < 0 || set != CAP_SET) {
            detail(item, "this root has lost CAP_SETUID or CAP_SETGID");
            hint(item, FINDING_MISSING,
                 "give them back (docker run --cap-add SETUID --cap-add SETGID)");
        }
    cap_free(own);
}

/* newuidmap works by the setuid bit or by a file capability. */
static bool has_power(const char *path) {
    struct stat status;
    if (access(path, X_OK) < 0 || stat(path, &status) < 0)
        return false;
    cap_t file = cap_get_file(path);
    cap_free(file);
    return file || status.st_mode & S_ISUID;
}

static void look_at_newuidmap(struct findings *all) {
    struct finding *item = findings_add(all, "newuidmap", false);
    if (has_power("/usr/bin/newuidmap") && has_power("/usr/bin/newgidmap")) {
        detail(item, "/usr/bin/newuidmap, /usr/bin/newgidmap");
        return;
    }
    bool there = access("/usr/bin/newuidmap", X_OK) == 0;
    detail(item, there ? "there, but neither setuid nor with a capability" : "not there");
    hint(item, FINDING_MISSING, "sudo apt-get install %suidmap (dnf install shadow-utils)",
         there ? "--reinstall " : "");
}

static void look_at_ids(struct findings *all) {
    struct finding *item = findings_add(all, "id maps", true);
    struct idmap ids = {0};
    struct error err;
    if (idmap_find(&ids, &err) < 0) {
        detail(item, "no host ids for functions");
        hint(item, FINDING_MISSING, "%s", err.message);
        return;
    }
    if (ids.kind == IDMAP_SINGLE) {
        detail(item, "%s", idmap_kind_text(ids.kind));
        hint(item, FINDING_WEAKER, "functions run with your own id to the kernel: %s",
             ids.why_single);
        return;
    }
    detail(item, "%s: %u to %u", idmap_kind_text(ids.kind), ids.uid_start,
           ids.uid_start + ids.uid_count - 1);
}

/* --- control groups ------------------------------------------------------------ */

enum groups_from { GROUPS_NOWHERE, GROUPS_OWN, GROUPS_SCOPE };

/* Where and how, or why not. Afterwards *layout is what a call would work with, or, from
 * GROUPS_NOWHERE, what there is around this process and will not do. */
static int look_at_groups(struct findings *all, const char *named, struct cgroup_layout *layout) {
    struct finding *item = findings_add(all, "control groups", true);
    struct error err = {0}, no_scope;
    int r = named ? cgroup_find_below(layout, named, &err) : cgroup_find(layout, &err);
    if (r == 0)
        r = probe_groups(layout, &err);
    if (r == 0) {
        detail(item, named ? "can be made below %s" : "can be made by this process itself", named);
        return GROUPS_OWN;
    }
    detail(item, "cannot be made");
    hint(item, FINDING_MISSING, "%s", err.message);
    if (named || !layout->unified[0])
        return GROUPS_NOWHERE;
    struct cgroup_layout in_scope = {0};
    r = probe_scope(&in_scope, &no_scope);
    if (in_scope.unified[0]) /* a scope was had, be it of use or not */
        *layout = in_scope;
    if (r == 0) {
        item->state = FINDING_OK;
        item->hint[0] = 0;
        detail(item, "can be made in a scope from %s systemd",
               geteuid() == 0 ? "the system's" : "the user's own");
    } else if (cgroup_on_v2(layout)) {
        /* On v1 the v2 mount is there as well and systemd is of no help: say the first. */
        hint(item, FINDING_MISSING, "%s", no_scope.message);
    }
    return in_scope.unified[0] ? GROUPS_SCOPE : GROUPS_NOWHERE;
}

static void look_at_controllers(struct findings *all, const struct cgroup_layout *layout,
                                int from) {
    static const struct {
        const char *name;
        int controller;
    } rows[] = {{"memory controller", CGROUP_MEMORY},
                {"pids controller", CGROUP_PIDS},
                {"cpu controller", CGROUP_CPU}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct finding *item = findings_add(all, rows[i].name, true);
        const struct cgroup_place *place = &layout->places[rows[i].controller];
        if (place->version) {
            detail(item, "v%d, %s", place->version, place->parent);
            continue;
        }
        if (layout->unified[0] && from == GROUPS_NOWHERE && !layout->configured) {
            /* systemd enables a controller where somebody asked for it, and not before. */
            item->needed = false;
            detail(item, "not in this process's own group, which will not do anyway");
            hint(item, FINDING_MISSING, "see control groups: a scope may have it");
            continue;
        }
        detail(item, "not to be found on v1 or v2");
        if (layout->unified[0])
            hint(item, FINDING_MISSING,
                 "have it delegated: sudo systemctl edit user@.service, [Service] Delegate=memory "
                 "pids cpu, then log in anew; for memory the kernel may need cgroup_enable=memory");
        else
            hint(item, FINDING_MISSING,
                 "no cgroup2 mount: boot with systemd.unified_cgroup_hierarchy=1");
    }
}

static bool machine_swaps(void) {
    char text[4096];
    _cleanup_close_ int fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    char *line = strchr(text, '\n'); /* the first is a heading */
    return line && line[1];
}

static bool has_file(const char *folder, const char *file) {
    char pattern[PATH_MAX];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/%s", folder, file);
    int r = glob(pattern, GLOB_NOSORT, NULL, &found);
    globfree(&found);
    return r == 0;
}

/* On v2 the group that was looked at may be a scope that has gone by now, and the
 * root group has no limits of its own: the groups below the mount show what there is. */
static bool counts_swap(const struct cgroup_layout *layout) {
    const struct cgroup_place *memory = &layout->places[CGROUP_MEMORY];
    if (memory->version == 1)
        return has_file(memory->parent, "memory.memsw.limit_in_bytes");
    return memory->version == 2 && (has_file(memory->parent, "memory.swap.max") ||
                                    has_file(layout->unified, "*/memory.swap.max"));
}

static void look_at_swap(struct findings *all, const struct cgroup_layout *layout) {
    struct finding *item = findings_add(all, "swap accounting", false);
    if (counts_swap(layout)) {
        detail(item, "swap counts in the memory limit");
    } else if (!machine_swaps()) {
        detail(item, "off, and this machine has no swap");
    } else {
        detail(item, "off: functions are told not to swap instead");
        hint(item, FINDING_WEAKER, "boot with swapaccount=1 on the kernel's command line");
    }
}

static void look_at_systemd(struct findings *all, bool needed) {
    struct finding *item = findings_add(all, "systemd", needed);
    char version[64];
    struct error err;
    if (scope_reachable(version, sizeof version, &err) == 0) {
        detail(item, "%s answers, version %s", geteuid() == 0 ? "the system's" : "the user's own",
               version);
        return;
    }
    detail(item, needed ? "not to be reached" : "not to be reached, and not needed here");
    if (needed)
        hint(item, FINDING_MISSING, "%s", err.message);
    else
        hint(item, FINDING_MISSING, "only calls on cgroup v2 ask it for a group");
}

static void look_at_all_groups(struct findings *all, const char *named) {
    struct cgroup_layout layout;
    memset(&layout, 0, sizeof layout);
    int from = look_at_groups(all, named, &layout);
    look_at_controllers(all, &layout, from);
    look_at_swap(all, &layout);
    look_at_systemd(all, !named && from != GROUPS_OWN && cgroup_on_v2(&layout));
}

/* --- fnrun itself, and languages ------------------------------------------------ */

/* 1: static, 0: needs a loader, negative errno. */
static int is_static(const char *path) {
    Elf64_Ehdr head;
    Elf64_Phdr part;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (pread(fd, &head, sizeof head, 0) != sizeof head)
        return -EIO;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        if (pread(fd, &part, sizeof part, (off_t)(head.e_phoff + i * sizeof part)) != sizeof part)
            return -EIO;
        if (part.p_type == PT_INTERP)
            return 0;
    }
    return 1;
}

static void look_at_programs(struct findings *all) {
    struct finding *item = findings_add(all, "fnrun-once", true);
    char path[PATH_MAX];
    struct error err;
    if (programs_find("fnrun-once", path, sizeof path, &err) < 0) {
        detail(item, "not there");
        hint(item, FINDING_MISSING, "%s", err.message);
        return;
    }
    bool fixed = is_static(path) == 1;
    detail(item, "%.500s, %s", path, fixed ? "static" : "dynamic");
    if (!fixed)
        hint(item, FINDING_WEAKER,
             "static it starts about 1 ms sooner: apt-get install musl-tools libc6-dev, then "
             "configure and make again");
}

static void look_at_language(struct findings *all, const char *name, const char *path,
                             const char *package) {
    struct finding *item = findings_add(all, name, false);
    if (*path && access(path, X_OK) == 0) {
        detail(item, "%s", path);
        return;
    }
    detail(item, *path ? "%s is not there any more" : "not there when fnrun was built", path);
    hint(item, FINDING_MISSING, "only for %s functions: sudo apt-get install %s%s", name, package,
         *path ? "" : ", then configure and make again");
}

/* The folder of the prepared root; looked at, never made here. */
static void look_at_run_folder(struct findings *all) {
    struct finding *item = findings_add(all, "run folder", true);
    char path[PATH_MAX];
    struct error err;
    struct stat status;
    if (claim_run_dir(path, sizeof path, &err) < 0) {
        detail(item, "no place for it");
        hint(item, FINDING_MISSING, "%s", err.message);
        return;
    }
    if (lstat(path, &status) < 0) {
        char parent[PATH_MAX];
        snprintf(parent, sizeof parent, "%s", path);
        *strrchr(parent, '/') = 0;
        bool can = errno == ENOENT && access(parent, W_OK | X_OK) == 0;
        detail(item, can ? "%s, made by the first call" : "%s cannot be made", path);
        if (!can)
            hint(item, FINDING_MISSING,
                 "make %.200s writable, or log in so that XDG_RUNTIME_DIR "
                 "names a folder of yours",
                 parent);
        return;
    }
    bool good = S_ISDIR(status.st_mode) && status.st_uid == geteuid() && !(status.st_mode & 0022);
    detail(item, good ? "%s" : "%s has another owner, or others may write to it", path);
    if (!good)
        hint(item, FINDING_MISSING, "it is not trusted: sudo rm -rf --one-file-system %.400s",
             path);
}

/* --- all ------------------------------------------------------------------------ */

void findings_collect(struct findings *findings, const char *cgroup) {
    findings->count = 0;
    look_at_kernel(findings);
    look_at_mounts(findings, look_at_namespaces(findings));
    look_at_seccomp(findings);
    look_at_ids(findings);
    if (geteuid() == 0)
        look_at_capabilities(findings);
    else
        look_at_newuidmap(findings);
    look_at_all_groups(findings, cgroup);
    look_at_run_folder(findings);
    look_at_programs(findings);
    look_at_language(findings, "python", FNRUN_PYTHON3, "python3");
    look_at_language(findings, "node", FNRUN_NODE, "nodejs");
}

bool findings_ready(const struct findings *findings) {
    for (size_t i = 0; i < findings->count; i++)
        if (findings->items[i].needed && findings->items[i].state == FINDING_MISSING)
            return false;
    return true;
}
