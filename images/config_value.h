/* One value of a file or the command line: checked by its row of the table,
 * worded when it is wrong, stored when it is right. */
#ifndef FNRUN_CONFIG_VALUE_H
#define FNRUN_CONFIG_VALUE_H

#include <stddef.h>

#include "images/config_table.h"

#define CONFIG_TEXT_SIZE 400 /* of what is wrong with a value */

/* Stores value in *object, which is what the row's table fills, by row; key is the key as it was
 * written (it matters for rows of free keys). Strings that were there are freed. Returns 0; -EINVAL
 * with text, which begins with the key: what was expected and what came ("memory: 4M to 1024G, got
 * 1M"); -ENOMEM. */
int config_apply(const struct config_row *row, const char *key, const char *value, void *object,
                 char text[CONFIG_TEXT_SIZE]);

#endif
