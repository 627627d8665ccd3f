#include "runner/registry_secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"

#define INI "function.ini"

/* Where the credential is. Returns false with a problem. */
static bool find(const struct function_pair *secret, char path[PATH_MAX],
                 struct config_problems *problems) {
    const char *name = secret->value, *folder = getenv("CREDENTIALS_DIRECTORY");
    if (name[0] == '/' && strlen(name) < PATH_MAX) {
        strcpy(path, name);
        return true;
    }
    if (strchr(name, '/') || name[0] == '.' || strlen(name) > NAME_MAX) {
        config_problem(problems, INI, 0,
                       "[secrets] %s: `%.64s` is neither the name of a credential nor the absolute "
                       "path of a file",
                       secret->key, name);
        return false;
    }
    if (!folder || folder[0] != '/') {
        config_problem(problems, INI, 0,
                       "[secrets] %s: the credential `%s` is not there: the service manager gave "
                       "fnrund none (LoadCredential=%s:... in its unit), and fnrund can take the "
                       "absolute path of a file with mode 0600 as well",
                       secret->key, name, name);
        return false;
    }
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return true;
}

/* Returns a descriptor, or -1 with a problem. */
static int open_secret(const struct function_pair *secret, const char *path,
                       struct config_problems *problems) {
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        config_problem(problems, INI, 0, "[secrets] %s: %s cannot be read by fnrund: %s",
                       secret->key, path, strerror(errno));
        return -1;
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || (st.st_uid != 0 && st.st_uid != geteuid())) {
        config_problem(problems, INI, 0,
                       "[secrets] %s: %s must be a file that its owner alone can read (chmod 600), "
                       "who is root or the user that fnrund runs as",
                       secret->key, path);
        return -1;
    }
    return TAKE_FD(fd);
}

/* Reads at most size bytes. Returns how many, or a negative errno. */
static ssize_t read_all(int fd, char *bytes, size_t size) {
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(fd, bytes + length, size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

/* The value, or NULL with a problem. */
static char *read_value(const struct function_pair *secret, struct config_problems *problems) {
    char path[PATH_MAX], text[SECRET_MAX + 1];
    if (!find(secret, path, problems))
        return NULL;
    _cleanup_close_ int fd = open_secret(secret, path, problems);
    if (fd < 0)
        return NULL;
    ssize_t length = read_all(fd, text, sizeof text);
    const char *wrong = length < 0            ? strerror((int)-length)
                        : length > SECRET_MAX ? "it is longer than 32 KiB"
                        : memchr(text, 0, (size_t)length)
                            ? "there is a zero byte in it, which no variable can have"
                            : NULL;
    if (!wrong && length && text[length - 1] == '\n')
        length--;
    char *value = wrong ? NULL : strndup(text, (size_t)length);
    explicit_bzero(text, sizeof text);
    if (!value)
        config_problem(problems, INI, 0, "[secrets] %s: %s", secret->key,
                       wrong ? wrong : "out of memory");
    return value;
}

void registry_read_secrets(struct function *function, struct config_problems *problems) {
    size_t count = function->environment_count;
    if (!function->secrets_count)
        return;
    struct function_pair *pairs =
        realloc(function->environment, (count + function->secrets_count) * sizeof *pairs);
    if (!pairs) {
        config_problem(problems, INI, 0, "out of memory");
        return;
    }
    function->environment = pairs;
    for (size_t i = 0; i < function->secrets_count; i++) {
        char *value = read_value(&function->secrets[i], problems);
        char *key = value ? strdup(function->secrets[i].key) : NULL;
        if (value && !key)
            config_problem(problems, INI, 0, "out of memory");
        if (!key) {
            free(value);
            continue;
        }
        pairs[function->environment_count++] = (struct function_pair){key, value};
    }
}
