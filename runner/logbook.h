/* The log of one function: a bounded ring of lines in memory, each with time and request id;
 * readers can follow. Handed to the journal where there is one (logbook_journal.h). The oldest
 * lines go first; a line longer than LOGBOOK_LINE comes in pieces. */
#ifndef FNRUN_LOGBOOK_H
#define FNRUN_LOGBOOK_H

#include <stddef.h>
#include <stdint.h>

#define LOGBOOK_LINE 8192 /* bytes of one line */

struct logbook;

struct logbook_line {
    int64_t time_us;     /* CLOCK_REALTIME */
    char request_id[37]; /* "" : of the environment, not of a call */
    const char *text;    /* any bytes but a newline, not zero-terminated */
    size_t length;
};

/* bytes: of memory for lines, what is kept about each included. NULL: out of memory. */
struct logbook *logbook_new(const char *function, size_t bytes);
/* Of the function, whose book it is. Followers stay (and hear nothing more) until they are
 * unfollowed; each is told by its `ended`. */
void logbook_free(struct logbook *book);
/* Another bound of memory, from the next line on. */
void logbook_resize(struct logbook *book, size_t bytes);
/* request_id NULL or "": of the environment. text may hold several lines and an unfinished
 * last one, which is kept for its request until the rest comes or logbook_close_call. */
void logbook_add(struct logbook *book, const char *request_id, const char *text, size_t length);
void logbook_close_call(struct logbook *book, const char *request_id);

/* Calls each (which must not add lines) for the lines since since_us (0: all) of request_id
 * (NULL: any; "": of the environment), oldest first. */
void logbook_read(struct logbook *book, int64_t since_us, const char *request_id,
                  void (*each)(void *owner, const struct logbook_line *line), void *owner);
/* each for every line from now on, until unfollowed (in each itself, too). NULL: out of
 * memory. */
struct logbook_follower;
struct logbook_follower *logbook_follow(struct logbook *book, const char *request_id,
                                        void (*each)(void *owner, const struct logbook_line *line),
                                        void *owner);
/* ended is called when the function is gone; the follower must still be unfollowed, then or
 * later. */
void logbook_on_end(struct logbook_follower *follower, void (*ended)(void *owner));
void logbook_unfollow(struct logbook *book, struct logbook_follower *follower);

#endif
