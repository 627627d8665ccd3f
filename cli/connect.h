/* The daemon's socket: which one it is, and a connection to it. No library beyond libc. */
#ifndef FNRUN_CONNECT_H
#define FNRUN_CONNECT_H

#include "isolate/error.h"

/* Connects to the daemon. named: the path of --socket or FNRUN_SOCKET, or NULL: then
 * $XDG_RUNTIME_DIR/fnrun.sock where that is there, else /run/fnrun.sock.
 * Returns a close-on-exec descriptor above 2; or with err, worded for the user with what to do:
 * -ENOENT, -ECONNREFUSED: no daemon is there; -EACCES: the socket is not for this user;
 * -ENAMETOOLONG; another negative errno. */
int connect_daemon(const char *named, struct error *err);

/* The path that connect_daemon would try first, for messages; static, valid until the next
 * call of either. */
const char *connect_path(const char *named);

#endif
