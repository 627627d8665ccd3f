/* Lines of functions' logs for the systemd journal, where there is one. Its own protocol in its
 * own datagrams (systemd.io/JOURNAL_NATIVE_PROTOCOL), sent without ever waiting: sd_journal_sendv
 * blocks when the journal is slow, and one function's flood would hold up all others. */
#ifndef FNRUN_LOGBOOK_JOURNAL_H
#define FNRUN_LOGBOOK_JOURNAL_H

#include <stddef.h>

/* request_id may be "". text: any bytes but a newline. A line that the journal does not take at
 * once is not sent; how many were not is said in a line of its own later. */
void logbook_journal_send(const char *function, const char *request_id, const char *text,
                          size_t length);

/* The socket of the journal; a variable for tests alone. */
extern const char *logbook_journal_path;

#endif
