#include "cli/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOM 1024 /* bytes behind the head, for the lines between chunks at least */

enum framing {
    FRAMING_LENGTH, /* left bytes */
    FRAMING_CHUNKS, /* left bytes of this chunk */
    FRAMING_CLOSE,  /* to the end of the connection */
};

void http_begin(struct http_exchange *exchange, int fd) {
    exchange->fd = fd;
    exchange->status = 0;
    exchange->bytes = exchange->first;
    exchange->capacity = sizeof exchange->first;
    exchange->length = exchange->head = exchange->at = 0;
    exchange->left = 0;
    exchange->ended = false;
    exchange->grown = exchange->whole = NULL;
}

void http_end(struct http_exchange *exchange) {
    if (exchange->fd >= 0)
        close(exchange->fd);
    exchange->fd = -EBADF;
    free(exchange->grown);
    free(exchange->whole);
    exchange->grown = exchange->whole = NULL;
}

static int broken(struct error *err, const char *what) {
    return error_set(err, -EPROTO, "the daemon's answer cannot be understood: %s", what);
}

static int cut(struct error *err) {
    return error_set(err, -EPROTO,
                     "the daemon hung up in the middle of its answer; it may have ended: see its "
                     "log, and whether it is running");
}

/* --- sending --------------------------------------------------------------------- */

/* All of it. MSG_NOSIGNAL: a daemon that hung up is -EPIPE, not the end of this program. */
static int send_pieces(int fd, struct iovec *pieces, int count) {
    while (count) {
        struct msghdr message = {.msg_iov = pieces};
        message.msg_iovlen = (__typeof__(message.msg_iovlen))count; /* int or size_t */
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        size_t left = (size_t)sent;
        for (; count && left >= pieces->iov_len; pieces++, count--)
            left -= pieces->iov_len;
        if (count) {
            pieces->iov_base = (char *)pieces->iov_base + left;
            pieces->iov_len -= left;
        }
    }
    return 0;
}

static int not_sent(int r, struct error *err) {
    return error_set(err, r, "the request cannot be sent to the daemon: %s", strerror(-r));
}

int http_send(struct http_exchange *exchange, const char *head, size_t head_length,
              const char *body, size_t body_length, struct error *err) {
    struct iovec pieces[] = {{(char *)head, head_length}, {(char *)body, body_length}};
    int r = send_pieces(exchange->fd, pieces, body_length ? 2 : 1);
    return r == 0 || r == -EPIPE || r == -ECONNRESET ? 0 : not_sent(r, err);
}

int http_send_chunk(struct http_exchange *exchange, const char *bytes, size_t length,
                    struct error *err) {
    char line[24];
    int digits = snprintf(line, sizeof line, "%zx\r\n", length);
    struct iovec pieces[] = {{line, (size_t)digits}, {(char *)bytes, length}, {(char *)"\r\n", 2}};
    int r = send_pieces(exchange->fd, pieces, 3);
    if (r == -EPIPE || r == -ECONNRESET)
        return -EPIPE;
    return r < 0 ? not_sent(r, err) : 0;
}

/* --- the head -------------------------------------------------------------------- */

/* Twice the room for the head. */
static int grow(struct http_exchange *exchange, struct error *err) {
    size_t capacity = exchange->capacity * 2;
    char *more = capacity > exchange->capacity ? realloc(exchange->grown, capacity) : NULL;
    if (!more)
        return error_set(err, -ENOMEM, "out of memory for the daemon's answer");
    if (!exchange->grown)
        memcpy(more, exchange->first, exchange->length);
    exchange->bytes = exchange->grown = more;
    exchange->capacity = capacity;
    return 0;
}

/* More bytes behind those that are there. Returns how many, 0 at the end, negative errno. */
static ssize_t fill(struct http_exchange *exchange, struct error *err) {
    for (;;) {
        ssize_t got = recv(exchange->fd, exchange->bytes + exchange->length,
                           exchange->capacity - exchange->length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == ECONNRESET)
            return 0;
        if (got < 0)
            return error_set(err, -errno, "the daemon's answer cannot be read: %s",
                             strerror(errno));
        exchange->length += (size_t)got;
        return got;
    }
}

/* Until the empty line; head is the length with it. */
static int read_head(struct http_exchange *exchange, struct error *err) {
    size_t seen = exchange->at;
    for (;;) {
        char *end = memmem(exchange->bytes + seen, exchange->length - seen, "\r\n\r\n", 4);
        if (end) {
            exchange->head = (size_t)(end - exchange->bytes) + 4;
            return exchange->head <= HTTP_HEAD_MAX ? 0 : broken(err, "its headers are too long");
        }
        seen = exchange->length - exchange->at > 3 ? exchange->length - 3 : exchange->at;
        if (exchange->length >= HTTP_HEAD_MAX)
            return broken(err, "its headers are too long");
        if (exchange->length == exchange->capacity) {
            int r = grow(exchange, err);
            if (r < 0)
                return r;
        }
        ssize_t got = fill(exchange, err);
        if (got < 0)
            return (int)got;
        if (got == 0 && exchange->length == 0)
            return error_set(err, -EPROTO,
                             "the daemon hung up without an answer; it may have ended: see its "
                             "log, and whether it is running");
        if (got == 0)
            return cut(err);
    }
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK". */
static int read_status(struct http_exchange *exchange, struct error *err) {
    const char *line = exchange->bytes + exchange->at;
    if (memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) || line[8] != ' ' || line[9] < '1' ||
        line[9] > '5' || !is_digit(line[10]) || !is_digit(line[11]) ||
        (line[12] != ' ' && line[12] != '\r'))
        return broken(err, "it is no HTTP; does fnrund listen on that socket?");
    exchange->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    return 0;
}

/* Makes a string of each line, and sees that each is `name: value`. */
static int split_lines(struct http_exchange *exchange, struct error *err) {
    char *line = exchange->bytes + exchange->at, *end = exchange->bytes + exchange->head - 2;
    if (memchr(line, 0, (size_t)(end - line)))
        return broken(err, "there is a zero byte in its headers");
    for (bool first = true; line < end; first = false) {
        char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        *stop = 0;
        if (!first && (*line == ':' || !strchr(line, ':')))
            return broken(err, "a header is malformed");
        line = stop + 2;
    }
    return 0;
}

static bool decimal(const char *text, uint64_t *value) {
    *value = 0;
    if (!*text)
        return false;
    for (; is_digit(*text); text++)
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
            return false;
    return !*text;
}

static int find_framing(struct http_exchange *exchange, struct error *err) {
    const char *coding = http_answer_header(exchange, "Transfer-Encoding");
    const char *length = http_answer_header(exchange, "Content-Length");
    exchange->left = 0;
    exchange->ended = false;
    if (exchange->status == 204 || exchange->status == 304) {
        exchange->framing = FRAMING_LENGTH;
        exchange->ended = true;
    } else if (coding) {
        exchange->framing = FRAMING_CHUNKS;
        if (strcasecmp(coding, "chunked") != 0)
            return broken(err, "its Transfer-Encoding is not known");
    } else if (length) {
        exchange->framing = FRAMING_LENGTH;
        if (!decimal(length, &exchange->left))
            return broken(err, "its Content-Length is no number");
        exchange->ended = exchange->left == 0;
    } else {
        exchange->framing = FRAMING_CLOSE;
    }
    return 0;
}

int http_receive(struct http_exchange *exchange, struct error *err) {
    int r;
    do { /* 100 Continue and its like come before the answer */
        exchange->at = exchange->head;
        r = read_head(exchange, err);
        if (r == 0)
            r = exchange->head - exchange->at < 16 ? broken(err, "it is no HTTP")
                                                   : read_status(exchange, err);
    } while (r == 0 && exchange->status < 200);
    if (r == 0 && exchange->capacity - exchange->head < ROOM)
        r = grow(exchange, err);
    if (r == 0)
        r = split_lines(exchange, err);
    if (r == 0)
        r = find_framing(exchange, err);
    if (r == 0)
        exchange->at = exchange->head;
    return r;
}

const char *http_answer_header(const struct http_exchange *exchange, const char *name) {
    /* at is the answer's start only until its body is read: the lines before do no harm. */
    const char *line = exchange->bytes, *end = exchange->bytes + exchange->head - 2;
    size_t length = strlen(name);
    while (line < end) {
        size_t whole = strlen(line);
        if (whole > length && line[length] == ':' && strncasecmp(line, name, length) == 0) {
            const char *value = line + length + 1;
            return value + strspn(value, " \t");
        }
        line += whole + 2;
    }
    return NULL;
}

/* --- the body -------------------------------------------------------------------- */

/* Bytes of the body that are here already. */
static size_t waiting(const struct http_exchange *exchange) {
    return exchange->length - exchange->at;
}

/* What is behind the head has been taken: its room is free again. */
static ssize_t refill(struct http_exchange *exchange, struct error *err) {
    if (exchange->at == exchange->length)
        exchange->at = exchange->length = exchange->head;
    if (exchange->length == exchange->capacity) {
        /* A line between chunks that does not end. */
        if (exchange->at == exchange->head)
            return broken(err, "a chunk has no length");
        memmove(exchange->bytes + exchange->head, exchange->bytes + exchange->at,
                waiting(exchange));
        exchange->length -= exchange->at - exchange->head;
        exchange->at = exchange->head;
    }
    ssize_t got = fill(exchange, err);
    return got == 0 ? cut(err) : got;
}

/* A line of the chunked coding, without its end; valid until the next refill. */
static int chunk_line(struct http_exchange *exchange, char **line, struct error *err) {
    for (;;) {
        char *from = exchange->bytes + exchange->at;
        char *end = memmem(from, waiting(exchange), "\r\n", 2);
        if (end) {
            *end = 0;
            *line = from;
            exchange->at += (size_t)(end - from) + 2;
            return 0;
        }
        ssize_t got = refill(exchange, err);
        if (got < 0)
            return (int)got;
    }
}

static int chunk_length(const char *line, uint64_t *length) {
    size_t digits = strspn(line, "0123456789abcdefABCDEF");
    if (digits == 0 || digits > 15 || (line[digits] && !strchr("; \t", line[digits])))
        return -EPROTO;
    *length = strtoull(line, NULL, 16);
    return 0;
}

/* The head of the next chunk; after the last one, its trailers too. */
static int next_chunk(struct http_exchange *exchange, struct error *err) {
    char *line;
    int r = chunk_line(exchange, &line, err);
    if (r < 0)
        return r;
    if (chunk_length(line, &exchange->left) < 0)
        return broken(err, "a chunk has no length");
    while (exchange->left == 0 && !exchange->ended) {
        r = chunk_line(exchange, &line, err);
        if (r < 0)
            return r;
        exchange->ended = !*line;
    }
    return 0;
}

/* Bytes as they come, none of the coding: from what is here, else from the connection
 * straight to where they belong. */
static ssize_t take(struct http_exchange *exchange, char *to, size_t size, struct error *err) {
    size_t have = waiting(exchange);
    if (have) {
        have = have < size ? have : size;
        memcpy(to, exchange->bytes + exchange->at, have);
        exchange->at += have;
        return (ssize_t)have;
    }
    for (;;) {
        ssize_t got = recv(exchange->fd, to, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == ECONNRESET)
            return 0;
        if (got < 0)
            return error_set(err, -errno, "the daemon's answer cannot be read: %s",
                             strerror(errno));
        return got;
    }
}

ssize_t http_read(struct http_exchange *exchange, char *to, size_t size, struct error *err) {
    if (!exchange->ended && exchange->framing == FRAMING_CHUNKS && !exchange->left) {
        int r = next_chunk(exchange, err);
        if (r < 0)
            return r;
    }
    if (exchange->ended || !size)
        return 0;
    bool bounded = exchange->framing != FRAMING_CLOSE;
    if (bounded && size > exchange->left)
        size = (size_t)exchange->left;
    ssize_t got = take(exchange, to, size, err);
    if (got < 0)
        return got;
    if (got == 0 && bounded)
        return cut(err);
    if (got == 0)
        exchange->ended = true;
    if (bounded)
        exchange->left -= (uint64_t)got;
    if (exchange->framing == FRAMING_LENGTH && !exchange->left)
        exchange->ended = true;
    if (exchange->framing == FRAMING_CHUNKS && !exchange->left && got > 0) {
        char *line;
        int r = chunk_line(exchange, &line, err);
        if (r < 0 || *line)
            return r < 0 ? r : broken(err, "a chunk is longer than it says");
    }
    return got;
}

static int too_large(size_t limit, struct error *err) {
    return error_set(err, -EFBIG, "the daemon's answer is larger than %zu bytes", limit);
}

int http_read_all(struct http_exchange *exchange, size_t limit, char **body, size_t *length,
                  struct error *err) {
    size_t capacity = 65536, used = 0;
    *length = 0;
    if (exchange->framing == FRAMING_LENGTH) {
        if (exchange->left > limit || exchange->left > SIZE_MAX / 2)
            return too_large(limit, err);
        capacity = (size_t)exchange->left + 1;
        /* The usual case: it came with the head, and stays where it is. */
        if (waiting(exchange) >= exchange->left && exchange->at + capacity <= exchange->capacity) {
            *body = exchange->bytes + exchange->at;
            *length = (size_t)exchange->left;
            (*body)[*length] = 0;
            exchange->at += *length;
            exchange->left = 0;
            exchange->ended = true;
            return 0;
        }
    }
    for (ssize_t got = 1; got > 0; used += (size_t)got) {
        if (used > limit || capacity > SIZE_MAX / 2)
            return too_large(limit, err);
        bool full = used + 1 >= capacity && !exchange->ended;
        if (!exchange->whole || full) {
            capacity = full ? capacity * 2 : capacity;
            char *more = realloc(exchange->whole, capacity);
            if (!more)
                return error_set(err, -ENOMEM, "out of memory for the daemon's answer");
            exchange->whole = more;
        }
        got = http_read(exchange, exchange->whole + used, capacity - 1 - used, err);
        if (got < 0)
            return (int)got;
    }
    exchange->whole[used] = 0;
    *body = exchange->whole;
    *length = used;
    return 0;
}
