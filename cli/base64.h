/* Standard base64 with padding: RFC 4648, section 4. */
#ifndef FNRUN_BASE64_H
#define FNRUN_BASE64_H

#include <stddef.h>

#include "images/json.h"

/* In place: text's first bytes become the bytes it stands for. Returns how many, or -1 where
 * text is no base64. */
long base64_decode(char *text);

/* Appends bytes in base64, as it is. */
void base64_put(struct json_out *out, const char *bytes, size_t length);

#endif
