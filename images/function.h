/* A function: a folder (or a single file), its function.ini, and what the files
 * say. Reading one costs an open of function.ini and a look at the folder; it
 * is done once for each one-shot call or deployment. */
#ifndef FNRUN_FUNCTION_H
#define FNRUN_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/config.h"
#include "isolate/error.h"

enum runtime {
    RUNTIME_UNSET = 0,
    RUNTIME_PYTHON,
    RUNTIME_NODE,   /* exports.handler, Lambda form */
    RUNTIME_AZURE,  /* function.json; `runtime = node` plus function.json in the folder */
    RUNTIME_NATIVE, /* a shared object */
    RUNTIME_EXEC,   /* any executable or script */
};

enum output { OUTPUT_JSON = 0, OUTPUT_RAW };
enum network { NETWORK_NONE = 0, NETWORK_HOST };
enum isolation { ISOLATION_INVOCATION = 0, ISOLATION_STRICT, ISOLATION_ENVIRONMENT };

struct function_limits {
    uint64_t memory;     /* bytes, whole slot, tmpfs included */
    uint64_t tmp;        /* bytes, /tmp and /dev/shm together */
    uint64_t event;      /* bytes */
    uint64_t response;   /* bytes */
    uint64_t logs;       /* bytes kept of one invocation */
    uint64_t timeout_ms; /* the handler's own time */
    uint64_t init_ms;    /* loading the handler */
    uint64_t cpu_milli;  /* thousandths of a core */
    uint64_t processes;
    uint64_t files; /* open descriptors a process */
};

struct function_scale {
    uint64_t provisioned, concurrency, keep_alive_ms;
    int isolation; /* enum isolation */
    bool prestart;
    char *warmup; /* path in the folder, or NULL */
};

struct function_pair {
    char *key, *value;
};

/* The lines of function.ini with these keys, for messages (a key whose value was
 * refused has its line too); 0: not there. */
struct function_lines {
    unsigned runtime, handler, output, warmup;
};

struct function {
    char *name;  /* [A-Za-z0-9_-]{1,64}; default: from the folder's or file's name */
    int runtime; /* enum runtime */
    char
        *handler; /* python: module.function; node: file.export; exec, native: path in the folder */
    char *image;  /* "host" */
    char *path;   /* absolute path of the folder, or of the file when single_file */
    uint64_t device, inode; /* of what path was when it was looked at */
    char *file;             /* single_file: its name (the last component of path), else NULL */
    bool single_file;
    int output;  /* enum output */
    int network; /* enum network */
    struct function_limits limits;
    struct function_scale scale;
    struct function_pair *environment; /* [environment], in file order */
    size_t environment_count;
    struct function_pair *secrets;
    size_t secrets_count;
    struct function_lines lines;
    uint64_t said; /* bit n: row n of the table (images/config_table.h) was in function.ini */
};

/* Reads the function at path (a folder or a file, relative paths allowed).
 *
 * Everything wrong is added to *problems, each with file and line where there is
 * one; the caller prints them all. Detects the runtime where function.ini does
 * not name it, by the handler that is named there, else in this order: function.json; package.json
 * or index.js / .mjs / .cjs; app.py or lambda_function.py; *.so; a sole executable. Several
 * candidates of one rank are a problem that lists them. Checks that the handler's
 * file exists and can be read (or executed) by others, and says chmod where not.
 *
 * Returns 0; -ENOENT with err when path does not exist; -EINVAL when there are
 * problems; another negative errno with err. *function owns its strings in every
 * case: call function_free. */
int function_load(const char *path, struct function *function, struct config_problems *problems,
                  struct error *err);
void function_free(struct function *function);

/* Whether the handler's file says nothing of the name that will be called in it: a
 * search in its text, wrong now and then, so that it makes a remark and no problem.
 * Returns true with text when there is something to say. */
bool function_remark(const struct function *function, char *text, size_t size);

/* "python", "node", "node (Azure form)", "native", "exec". */
const char *function_runtime_name(int runtime);

#endif
