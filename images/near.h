/* The known word that a misspelt one was probably meant to be. Header only. */
#ifndef FNRUN_NEAR_H
#define FNRUN_NEAR_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define NEAR_MAX 40 /* longer words have no near one */

/* Letters to insert, delete or exchange to make a of b, case ignored
 * (Levenshtein); both at most NEAR_MAX long. */
static inline size_t near_distance(const char *a, const char *b) {
    size_t row[NEAR_MAX + 1], a_length = strlen(a), b_length = strlen(b);
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            size_t best = diagonal + !same;
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_length];
}

/* Offers a known word: *nearest becomes it when it is near enough to word and
 * nearer than what was there. *distance starts as (size_t)-1. */
static inline void near_offer(const char *word, const char *known, const char **nearest,
                              size_t *distance) {
    size_t word_length = strlen(word), known_length = strlen(known);
    if (word_length > NEAR_MAX || known_length > NEAR_MAX || !word_length)
        return;
    size_t found = near_distance(word, known);
    size_t enough = known_length < 4 ? 1 : known_length < 8 ? 2 : 3;
    if (found <= enough && found < known_length && found < *distance) {
        *nearest = known;
        *distance = found;
    }
}

#endif
