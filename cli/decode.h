/* Texts and numbers of the JSON in the daemon's answers, for fnrun itself, which links no
 * library. */
#ifndef FNRUN_DECODE_H
#define FNRUN_DECODE_H

#include <stddef.h>
#include <stdint.h>

/* Member `key` of a JSON object (json_scan has checked it), when it is a string: decoded into
 * text, cut to size - 1 bytes at a character's start. Returns its length, or -1 where there is
 * no such string (text is then empty). Surrogates that do not pair become U+FFFD; U+0000 is
 * left out. */
long decode_text(const char *json, size_t length, const char *key, char *text, size_t size);

/* Member `key`, when it is a number of 0 or more: times 10^digits, the rest cut. Returns 0, or
 * -1 where there is no such number or it is too large. */
int decode_number(const char *json, size_t length, const char *key, unsigned digits,
                  uint64_t *number);

#endif
