#include "runner/logbook_journal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

const char *logbook_journal_path = "/run/systemd/journal/socket";

static int journal = -EBADF;
static uint64_t lost; /* lines that it did not take */

/* Looks for the journal once: where there was none when the first line came, there is none. */
static bool reach(void) {
    static const char *tried;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (tried == logbook_journal_path)
        return journal >= 0;
    tried = logbook_journal_path;
    if (journal >= 0)
        close(journal);
    journal = -EBADF;
    if (strlen(tried) >= sizeof address.sun_path || access(tried, F_OK) < 0)
        return false;
    strcpy(address.sun_path, tried);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (journal >= 0 && connect(journal, (struct sockaddr *)&address, sizeof address) < 0) {
        close(journal);
        journal = -EBADF;
    }
    return journal >= 0;
}

static bool reconnect(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", logbook_journal_path);
    return connect(journal, (struct sockaddr *)&address, sizeof address) == 0;
}

static bool send_line(const char *function, const char *request_id, const char *text,
                      size_t length) {
    char head[256];
    int size = snprintf(head, sizeof head,
                        "SYSLOG_IDENTIFIER=fnrund\nPRIORITY=6\nFNRUN_FUNCTION=%.64s\n%s%.36s%s"
                        "MESSAGE=",
                        function, *request_id ? "FNRUN_REQUEST_ID=" : "", request_id,
                        *request_id ? "\n" : "");
    if (size < 0 || (size_t)size >= sizeof head)
        return false;
    struct iovec parts[] = {{head, (size_t)size}, {(void *)(uintptr_t)text, length}, {"\n", 1}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = sizeof parts / sizeof *parts};
    ssize_t sent = sendmsg(journal, &message, MSG_NOSIGNAL);
    /* A journal that was started again has a new socket under the old name. */
    if (sent < 0 && (errno == ECONNREFUSED || errno == ENOTCONN) && reconnect())
        sent = sendmsg(journal, &message, MSG_NOSIGNAL);
    return sent >= 0;
}

void logbook_journal_send(const char *function, const char *request_id, const char *text,
                          size_t length) {
    char note[96];
    if (!reach())
        return;
    if (lost) {
        int size = snprintf(note, sizeof note,
                            "fnrund: the journal was too slow for %llu lines of functions' logs",
                            (unsigned long long)lost);
        if (send_line(function, "", note, (size_t)size))
            lost = 0;
    }
    if (!send_line(function, request_id, text, length))
        lost++;
}
