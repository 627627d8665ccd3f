/* The keeper of the launcher's tests: it holds what a keeper is given and answers questions
 * about itself, one text a question, on its runner's socket. */
#ifndef FNRUN_TEST_LAUNCHER_KEEPER_H
#define FNRUN_TEST_LAUNCHER_KEEPER_H

#define KEEPER_ANSWER 4096

/* Questions:
 *   ids                 its ids and groups, environment, directory, umask, ignored signals
 *   read PATH           the file's first bytes
 *   create PATH         makes a file
 *   write PATH          opens it for writing
 *   remount PATH        tries to make the mount writable; to take it away
 *   private             root_mount_private with 1 MiB
 *   tmp                 root_mount_tmp with 1 MiB
 *   leaf NUMBER         asks for the leaf: "N descriptors", then the limits read through them
 *   flood COUNT         asks so often for leaf 0 before it reads an answer: how many came
 *   nonsense            sends the launcher what is no question
 *   enter NUMBER        a child with the slot's id moves itself by the slot's descriptors:
 *                       its /proc/self/cgroup
 *   steal NUMBER        writes itself into the group by the slot's descriptor
 *   above               opens what is above the group's directory
 *   divide              v2: makes leaves in its group, as a keeper does; one is /0
 *   widen               v2: raises its own limit
 *   deep                v2: makes groups below one another until it is refused
 *   linger              starts a process that ignores SIGTERM, with a session of its own
 * An answer "-N" is an errno. */
int launcher_keeper_main(void);

#endif
