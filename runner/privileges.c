#include "runner/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int privileges_find(const char *user, struct identity *identity, struct error *err) {
    *identity = (struct identity){.uid = geteuid(), .gid = getegid()};
    if (identity->uid != 0) {
        errno = 0;
        const struct passwd *self = getpwuid(identity->uid);
        if (self)
            snprintf(identity->name, sizeof identity->name, "%s", self->pw_name);
        else
            snprintf(identity->name, sizeof identity->name, "uid %u", (unsigned)identity->uid);
        return 0;
    }
    errno = 0;
    const struct passwd *found = getpwnam(user);
    if (!found && errno && errno != ENOENT && errno != ESRCH)
        return error_set(err, -errno, "the user %s cannot be looked up: %s", user, strerror(errno));
    if (!found)
        return error_set(err, -ENOENT,
                         "there is no user %s, as whom fnrund serves when root starts it: make it "
                         "(useradd --system --shell /usr/sbin/nologin %s), or say `user = NAME` "
                         "in [runner] of fnrun.ini, or start fnrund as an ordinary user",
                         user, user);
    if (found->pw_uid == 0)
        return error_set(err, -EINVAL,
                         "user = %s: fnrund does not serve as root; name an ordinary user in "
                         "[runner] of fnrun.ini",
                         user);
    snprintf(identity->name, sizeof identity->name, "%s", found->pw_name);
    identity->uid = found->pw_uid;
    identity->gid = found->pw_gid;
    identity->drop = true;
    return 0;
}

int privileges_group(const char *name, gid_t *gid, struct error *err) {
    errno = 0;
    const struct group *found = getgrnam(name);
    if (found) {
        *gid = found->gr_gid;
        return 0;
    }
    if (errno && errno != ENOENT && errno != ESRCH)
        return error_set(err, -errno, "the group %s cannot be looked up: %s", name,
                         strerror(errno));
    return error_set(err, -ENOENT,
                     "there is no group %s: make it (groupadd --system %s), or change `group` in "
                     "[runner] of fnrun.ini",
                     name, name);
}

int privileges_drop(const struct identity *identity, struct error *err) {
    if (identity->drop) {
        /* Groups first: without CAP_SETGID, which goes with the uid, they would stay root's. */
        if (setgroups(0, NULL) < 0)
            return error_set(err, -errno, "root's groups cannot be given up: %s", strerror(errno));
        /* All three ids, so that nothing is left to go back to; the kernel empties the
         * capability sets when the last of them stops being 0. */
        if (setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
            setresuid(identity->uid, identity->uid, identity->uid) < 0)
            return error_set(err, -errno, "fnrund cannot become %s: %s", identity->name,
                             strerror(errno));
        if (setuid(0) == 0)
            return error_set(err, -EPERM, "root's id could be had back after it was given up");
    }
    /* From here on no program that fnrund starts can gain anything (setuid, file capabilities).
     * After the launcher was started: a rootless one needs newuidmap. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, -errno, "no_new_privs cannot be set: %s", strerror(errno));
    return 0;
}
