#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/api_core.h"
#include "runner/package.h"

#define UPLOAD_MOST (256ll << 20)

/* STORE/incoming/ANY: the archive beside the folder that it is unpacked to. */
struct upload {
    char parent[PATH_MAX - 80], archive[PATH_MAX], folder[PATH_MAX];
    int fd;
};

static void free_upload(void *data) {
    struct upload *upload = data;
    cleanup_close(&upload->fd);
    if (*upload->archive)
        unlink(upload->archive);
    if (*upload->parent)
        rmdir(upload->parent);
    free(upload);
}

static int open_upload(struct exchange *exchange, struct upload *upload) {
    const char *store = state_store(exchange->api->state);
    /* The folder's last component is the name that a package gets which has none. */
    const char *name = strcmp(exchange->name, "-") == 0 ? "function" : exchange->name;
    int length =
        snprintf(upload->parent, sizeof upload->parent, "%s/incoming/upload-XXXXXX", store);
    if ((size_t)length >= sizeof upload->parent) {
        *upload->parent = 0;
        return -ENAMETOOLONG;
    }
    if (!mkdtemp(upload->parent)) {
        int r = -errno;
        *upload->parent = 0;
        return r;
    }
    snprintf(upload->archive, sizeof upload->archive, "%s/.archive", upload->parent);
    snprintf(upload->folder, sizeof upload->folder, "%s/%s", upload->parent, name);
    upload->fd = open(upload->archive, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return upload->fd < 0 ? -errno : 0;
}

int64_t api_deploy_begin(struct exchange *exchange, int *spool_to) {
    if (*exchange->qualifier)
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "a version is made by deploying: no :%s here", exchange->qualifier);
    struct upload *upload = calloc(1, sizeof *upload);
    if (!upload)
        return api_refuse(exchange, 500, "ServiceException", "out of memory");
    upload->fd = -EBADF;
    exchange->data = upload;
    exchange->free_data = free_upload;
    int r = open_upload(exchange, upload);
    if (r < 0)
        return api_refuse(exchange, 500, "ServiceException", "%s/incoming: %s",
                          state_store(exchange->api->state), strerror(-r));
    *spool_to = upload->fd;
    return UPLOAD_MOST;
}

static void unpacked(void *owner, int code, const char *text) {
    struct exchange *exchange = owner;
    struct upload *upload = exchange->data;
    const char *name = strcmp(exchange->name, "-") == 0 ? NULL : exchange->name;
    unlink(upload->archive);
    *upload->archive = 0;
    if (code == 0) {
        registry_deploy(exchange->api->registry, upload->folder, name, api_deployed, exchange);
        return;
    }
    exchange->busy = false;
    if (code == -ENOSPC || code == -EDQUOT || code == -EIO || code == -ENOMEM || code == -EROFS)
        api_refuse(exchange, 500, "ServiceException", "unpacking: %s", text);
    else
        api_refuse(exchange, 400, "InvalidParameterValueException", "the package: %s", text);
}

void api_deploy(struct exchange *exchange) {
    struct upload *upload = exchange->data;
    struct error err = {0};
    cleanup_close(&upload->fd);
    if (!http_body_bytes(exchange->request)) {
        api_refuse(exchange, 400, "InvalidRequestContentException",
                   "the request's body must be the package: a tar or zip archive");
        return;
    }
    exchange->busy = true; /* a client that goes now leaves a whole deployment behind */
    int r = package_unpack(exchange->api->loop, upload->archive, upload->folder, unpacked, exchange,
                           &err);
    if (r == 0)
        return;
    exchange->busy = false;
    api_refuse(exchange, 500, "ServiceException", "%s", err.message);
}
