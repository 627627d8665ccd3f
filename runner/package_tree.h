/* Whole folders below a descriptor, links never followed: removed, or written to the disk. */
#ifndef FNRUN_PACKAGE_TREE_H
#define FNRUN_PACKAGE_TREE_H

#define PACKAGE_TREE_DEPTH 80 /* folders in folders; an archive may have 64 */

/* Removes name (a file, or a folder with all that is in it) of the folder `parent` (or
 * AT_FDCWD); what is not there is no error. Returns 0 or a negative errno: -ELOOP when it is
 * deeper than PACKAGE_TREE_DEPTH. */
int package_tree_remove(int parent, const char *name);

/* fsync of every file and folder of the folder name. Returns 0 or a negative errno. */
int package_tree_sync(int parent, const char *name);

#endif
