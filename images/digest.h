/* A digest of 64 bits that names a prepared tree after what went into it. It tells
 * changed files from unchanged ones; it is no protection against somebody who makes
 * two inputs agree on purpose (who can change the inputs can change the tree).
 * Header only. */
#ifndef FNRUN_DIGEST_H
#define FNRUN_DIGEST_H

#include <stdint.h>
#include <sys/stat.h>

static inline uint64_t digest_start(uint64_t what) {
    return (what + 1) * 0x9e3779b97f4a7c15u;
}
/* Mixes in one word: every bit of the result depends on every bit before it. */
static inline uint64_t digest_word(uint64_t digest, uint64_t word) {
    digest = (digest ^ word) * 0xbf58476d1ce4e5b9u;
    digest = (digest ^ (digest >> 29)) * 0x94d049bb133111ebu;
    return digest ^ (digest >> 32);
}
static inline uint64_t digest_text(uint64_t digest, const char *text) {
    uint64_t length = 0;
    for (; text[length]; length++)
        digest = digest_word(digest, (unsigned char)text[length]);
    return digest_word(digest, length);
}
/* What changes when a file is written, replaced, or given another mode or owner. The
 * time of the last status change shows a write whose modification time was put back. */
static inline uint64_t digest_stat(uint64_t digest, const struct stat *st) {
    digest = digest_word(digest, (uint64_t)st->st_dev);
    digest = digest_word(digest, (uint64_t)st->st_ino);
    digest = digest_word(digest, (uint64_t)st->st_size);
    digest = digest_word(digest, (uint64_t)st->st_mode << 32 | st->st_uid);
    digest = digest_word(digest, (uint64_t)st->st_mtim.tv_sec);
    digest = digest_word(digest, (uint64_t)st->st_ctim.tv_sec);
    return digest_word(digest, (uint64_t)st->st_mtim.tv_nsec << 32 | st->st_ctim.tv_nsec);
}

#endif
