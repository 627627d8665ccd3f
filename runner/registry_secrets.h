/* The values of [secrets]: read when a version is loaded, kept in fnrund's memory alone, given
 * to the function as variables of its environment. */
#ifndef FNRUN_REGISTRY_SECRETS_H
#define FNRUN_REGISTRY_SECRETS_H

#include "images/config.h"
#include "images/function.h"

#define SECRET_MAX 32768 /* bytes of one value */

/* Puts NAME = value behind the function's [environment] for each NAME = credential. A credential
 * is one of systemd's (a name: $CREDENTIALS_DIRECTORY/name, see systemd.exec(5),
 * LoadCredential=), or the absolute path of a file that only its owner can read, which must be
 * root or the user that fnrund runs as. One newline at the end is left out. What cannot be had
 * is a problem that says why. */
void registry_read_secrets(struct function *function, struct config_problems *problems);

#endif
