/* What an archive may call its entries, and where its symbolic links may lead. Names are
 * bytes without meaning here: nothing is looked up. */
#ifndef FNRUN_UNPACK_NAME_H
#define FNRUN_UNPACK_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "isolate/error.h"

#define UNPACK_NAME_SIZE 4096 /* of a whole name, its 0 included */
#define UNPACK_PART_MAX  255  /* of one part between slashes */
#define UNPACK_DEPTH     64   /* parts of a name */
#define UNPACK_SHOWN     160  /* of a name in a message */

/* raw without what changes nothing: "./a//b/" becomes "a/b"; the folder itself is "".
 * Returns 0, or -EINVAL with err ("entry `../x`: ..."): an absolute name, a part that is "..",
 * too long, too deep. */
int unpack_name(const char *raw, char name[UNPACK_NAME_SIZE], struct error *err);

/* Whether the target of the symbolic link `name` stays inside the folder by its words alone:
 * relative, and with no more ".." than there are folders above. A link on the way can still
 * lead elsewhere, which only the kernel can tell. */
bool unpack_link_stays(const char *name, const char *target);

/* A name as a message shows it: bytes that are no text become ?, long ones are cut. */
const char *unpack_shown(const char *name, char shown[UNPACK_SHOWN]);

#endif
