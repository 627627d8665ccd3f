/* Any bytes through the scanner and the writer. What must hold, whatever came in:
 * what json_put_string wrote is JSON; a member of an accepted text is JSON; a text
 * stays accepted in an array. With files as arguments it is a plain program. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "images/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    struct json_problem problem = {0, NULL};
    bool good = json_scan(text, size, &problem);
    must(good || (problem.what && problem.offset <= size));
    must(!good || json_is_utf8(text, size, NULL));
    size_t length = 0;
    const char *member = json_member(text, size, "a", &length);
    if (good && member)
        must(member >= text && member + length <= text + size && json_scan(member, length, NULL));
    struct json_out out = {0};
    json_put_string(&out, text, size);
    must(!out.failed && json_scan(out.data, out.length, NULL));
    out.length = 0;
    json_put_text(&out, "[");
    json_put_raw(&out, text, size);
    json_put_text(&out, "]");
    if (good && !json_scan(out.data, out.length, &problem))
        must(problem.what[0] == 'n'); /* nested too deep, by the one more */
    free(out.data);
    return 0;
}

#include "tests/fuzz/plain.h"
