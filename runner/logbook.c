#include "runner/logbook.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runner/logbook_journal.h"

#define PARTS 4096 /* unfinished lines at most: more calls than that are never in flight */

struct line {
    struct line *next;
    int64_t time_us;
    char request_id[37];
    size_t length;
    char text[];
};

/* The unfinished last line of one call. */
struct part {
    struct part *next;
    char request_id[37];
    size_t length;
    char text[LOGBOOK_LINE];
};

struct logbook_follower {
    struct logbook_follower *next;
    char request_id[37]; /* "": any */
    void (*each)(void *owner, const struct logbook_line *line);
    void (*ended)(void *owner);
    void *owner;
    bool gone; /* to be freed when nobody walks the list */
};

struct logbook {
    char function[65];
    size_t bytes, used;
    struct line *first, *last;
    struct part *parts;
    size_t part_count;
    struct logbook_follower *followers;
    unsigned walking; /* the list of followers must not change */
    bool freed;       /* waits for its followers to go */
};

static void copy_id(char id[37], const char *from) {
    size_t length = from ? strnlen(from, 36) : 0;
    memcpy(id, from ? from : "", length);
    id[length] = 0;
}

struct logbook *logbook_new(const char *function, size_t bytes) {
    struct logbook *book = calloc(1, sizeof *book);
    if (!book)
        return NULL;
    memcpy(book->function, function, strnlen(function, sizeof book->function - 1));
    book->bytes = bytes;
    return book;
}

void logbook_resize(struct logbook *book, size_t bytes) {
    book->bytes = bytes;
}

/* --- lines ------------------------------------------------------------------------------------ */

static size_t cost(const struct line *line) {
    return sizeof *line + line->length;
}

static void drop_first(struct logbook *book) {
    struct line *line = book->first;
    book->used -= cost(line);
    book->first = line->next;
    if (!book->first)
        book->last = NULL;
    free(line);
}

static void keep(struct logbook *book, const struct logbook_line *from) {
    struct line *line = malloc(sizeof *line + from->length);
    if (!line)
        return; /* the readers of this moment have seen it; a log is not worth more */
    line->next = NULL;
    line->time_us = from->time_us;
    memcpy(line->request_id, from->request_id, sizeof line->request_id);
    line->length = from->length;
    memcpy(line->text, from->text, from->length);
    if (book->last)
        book->last->next = line;
    else
        book->first = line;
    book->last = line;
    book->used += cost(line);
    while (book->first && book->used > book->bytes)
        drop_first(book);
}

static void sweep_followers(struct logbook *book) {
    struct logbook_follower **place = &book->followers;
    if (book->walking)
        return;
    while (*place) {
        struct logbook_follower *follower = *place;
        if (!follower->gone) {
            place = &follower->next;
            continue;
        }
        *place = follower->next;
        free(follower);
    }
    if (book->freed && !book->followers)
        free(book);
}

static void tell_followers(struct logbook *book, const struct logbook_line *line) {
    if (!book->followers)
        return;
    book->walking++;
    for (struct logbook_follower *f = book->followers; f; f = f->next)
        if (!f->gone && (!f->request_id[0] || strcmp(f->request_id, line->request_id) == 0))
            f->each(f->owner, line);
    book->walking--;
    sweep_followers(book);
}

static void put_line(struct logbook *book, const char *request_id, const char *text,
                     size_t length) {
    struct timespec now;
    struct logbook_line line = {.text = text, .length = length};
    clock_gettime(CLOCK_REALTIME, &now);
    line.time_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    copy_id(line.request_id, request_id);
    keep(book, &line);
    logbook_journal_send(book->function, line.request_id, text, length);
    tell_followers(book, &line);
}

/* --- unfinished lines ------------------------------------------------------------------------- */

static struct part **find_part(struct logbook *book, const char *request_id) {
    struct part **place = &book->parts;
    while (*place && strcmp((*place)->request_id, request_id) != 0)
        place = &(*place)->next;
    return place;
}

static void finish_part(struct logbook *book, struct part **place) {
    struct part *part = *place;
    *place = part->next;
    book->part_count--;
    put_line(book, part->request_id, part->text, part->length);
    free(part);
}

static void start_part(struct logbook *book, const char *request_id, const char *text,
                       size_t length) {
    struct part *part = book->part_count < PARTS ? malloc(sizeof *part) : NULL;
    if (!part) {
        put_line(book, request_id, text, length);
        return;
    }
    copy_id(part->request_id, request_id);
    memcpy(part->text, text, length);
    part->length = length;
    part->next = book->parts;
    book->parts = part;
    book->part_count++;
}

/* Puts what belongs to the unfinished line behind it. Returns how many bytes were used. */
static size_t continue_part(struct logbook *book, struct part **place, const char *text,
                            size_t length) {
    struct part *part = *place;
    const char *end = memchr(text, '\n', length);
    size_t rest = end ? (size_t)(end - text) : length;
    size_t room = LOGBOOK_LINE - part->length;
    bool fits = rest <= room;
    size_t taken = fits ? rest : room;
    memcpy(part->text + part->length, text, taken);
    part->length += taken;
    /* A full one stays as long as a mere newline may follow. */
    if ((end && fits) || taken < length)
        finish_part(book, place);
    return taken + (end && fits);
}

void logbook_add(struct logbook *book, const char *request_id, const char *text, size_t length) {
    char id[37];
    copy_id(id, request_id);
    struct part **place = length && book->parts ? find_part(book, id) : NULL;
    if (place && *place) {
        size_t used = continue_part(book, place, text, length);
        text += used;
        length -= used;
    }
    while (length) {
        const char *end = memchr(text, '\n', length);
        size_t line = end ? (size_t)(end - text) : length;
        if (line > LOGBOOK_LINE) {
            line = LOGBOOK_LINE;
            end = NULL;
        } else if (!end) {
            start_part(book, id, text, line);
            return;
        }
        put_line(book, id, text, line);
        text += line + (end != NULL);
        length -= line + (end != NULL);
    }
}

void logbook_close_call(struct logbook *book, const char *request_id) {
    char id[37];
    copy_id(id, request_id);
    struct part **place = find_part(book, id);
    if (*place)
        finish_part(book, place);
}

/* --- readers ---------------------------------------------------------------------------------- */

void logbook_read(struct logbook *book, int64_t since_us, const char *request_id,
                  void (*each)(void *owner, const struct logbook_line *line), void *owner) {
    for (const struct line *line = book->first; line; line = line->next) {
        if (line->time_us < since_us || (request_id && strcmp(request_id, line->request_id) != 0))
            continue;
        struct logbook_line shown = {
            .time_us = line->time_us, .text = line->text, .length = line->length};
        memcpy(shown.request_id, line->request_id, sizeof shown.request_id);
        each(owner, &shown);
    }
}

struct logbook_follower *logbook_follow(struct logbook *book, const char *request_id,
                                        void (*each)(void *owner, const struct logbook_line *line),
                                        void *owner) {
    struct logbook_follower *follower = calloc(1, sizeof *follower);
    if (!follower)
        return NULL;
    copy_id(follower->request_id, request_id);
    follower->each = each;
    follower->owner = owner;
    follower->next = book->followers;
    book->followers = follower;
    return follower;
}

void logbook_on_end(struct logbook_follower *follower, void (*ended)(void *owner)) {
    follower->ended = ended;
}

void logbook_unfollow(struct logbook *book, struct logbook_follower *follower) {
    follower->gone = true;
    sweep_followers(book);
}

void logbook_free(struct logbook *book) {
    if (!book)
        return;
    while (book->first)
        drop_first(book);
    while (book->parts) {
        struct part *part = book->parts;
        book->parts = part->next;
        free(part);
    }
    book->freed = true;
    book->walking++;
    for (struct logbook_follower *f = book->followers; f; f = f->next)
        if (!f->gone && f->ended)
            f->ended(f->owner);
    book->walking--;
    sweep_followers(book);
}
