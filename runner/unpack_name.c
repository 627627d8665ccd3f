#include "runner/unpack_name.h"

#include <errno.h>
#include <string.h>

#include "images/utf8.h"

const char *unpack_shown(const char *name, char shown[UNPACK_SHOWN]) {
    const unsigned char *p = (const unsigned char *)name, *end = p + strlen(name);
    size_t used = 0;
    while (p < end) {
        size_t step = utf8_step(p, end);
        bool text = step && *p >= 0x20 && *p != 0x7f;
        if (!step)
            step = 1;
        if (used + step + 4 > UNPACK_SHOWN) {
            memcpy(shown + used, "...", 3);
            used += 3;
            break;
        }
        if (text)
            memcpy(shown + used, p, step);
        else
            shown[used] = '?';
        used += text ? step : 1;
        p += step;
    }
    shown[used] = 0;
    return shown;
}

static int refuse(const char *raw, struct error *err, const char *why) {
    char shown[UNPACK_SHOWN];
    return error_set(err, -EINVAL, "entry `%s`: %s", unpack_shown(raw, shown), why);
}

int unpack_name(const char *raw, char name[UNPACK_NAME_SIZE], struct error *err) {
    size_t used = 0, depth = 0;
    if (!*raw)
        return refuse(raw, err, "a name of no letters");
    if (*raw == '/')
        return refuse(raw, err, "an absolute name; pack the folder with relative names");
    for (const char *p = raw; *p;) {
        size_t length = strcspn(p, "/");
        const char *next = p + length + (p[length] == '/');
        if (length == 2 && memcmp(p, "..", 2) == 0)
            return refuse(raw, err, "a name with .. in it, which leads out of the folder");
        if (length > UNPACK_PART_MAX)
            return refuse(raw, err, "a name with a part of more than 255 bytes");
        if (length && !(length == 1 && *p == '.')) {
            if (++depth > UNPACK_DEPTH)
                return refuse(raw, err, "more than 64 folders deep");
            if (used + length + 2 > UNPACK_NAME_SIZE)
                return refuse(raw, err, "a name of more than 4094 bytes");
            if (used)
                name[used++] = '/';
            memcpy(name + used, p, length);
            used += length;
        }
        p = next;
    }
    name[used] = 0;
    return 0;
}

bool unpack_link_stays(const char *name, const char *target) {
    size_t above = 0; /* folders between the link and the top */
    for (const char *p = name; *p; p++)
        above += *p == '/';
    if (!*target || *target == '/')
        return false;
    for (const char *p = target; *p;) {
        size_t length = strcspn(p, "/");
        if (length == 2 && memcmp(p, "..", 2) == 0) {
            if (!above--)
                return false;
        } else if (length && !(length == 1 && *p == '.')) {
            above++;
        }
        p += length + (p[length] == '/');
    }
    return true;
}
