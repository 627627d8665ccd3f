#include "config.h"

#include "cli/doctor.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/findings.h"
#include "cli/findings_daemon.h"
#include "cli/table.h"

static const char *state_word(const struct finding *item) {
    switch (item->state) {
    case FINDING_OK:
        return "ok";
    case FINDING_WEAKER:
        return "weaker";
    default:
        return item->needed ? "missing" : "optional";
    }
}

/* --- for people ----------------------------------------------------------------- */

static const char *colour(const struct finding *item) {
    if (item->state == FINDING_OK)
        return "\033[32m";
    return item->state == FINDING_MISSING && item->needed ? "\033[31m" : "\033[33m";
}

static void print_item(const struct finding *item, bool colours) {
    printf("  %s%-8s%s  %-18s %s\n", colours ? colour(item) : "", state_word(item),
           colours ? "\033[0m" : "", item->name, item->detail);
    if (item->hint[0])
        printf("  %-8s  %-18s -> %s\n", "", "", item->hint);
}

static void print_text(const struct findings *findings) {
    bool colours = table_may_colour();
    size_t missing = 0;
    printf("fnrun %s, asked by %s\n\n", PACKAGE_VERSION,
           geteuid() == 0 ? "root" : "an ordinary user");
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *item = &findings->items[i];
        print_item(item, colours);
        missing += item->needed && item->state == FINDING_MISSING;
    }
    if (findings_ready(findings))
        puts("\nOne-shot calls (fnrun invoke PATH) work here.");
    else
        printf("\nOne-shot calls (fnrun invoke PATH) do not work here: %zu of the things they need "
               "%s missing.\n",
               missing, missing == 1 ? "is" : "are");
}

/* --- for programs ---------------------------------------------------------------- */

static bool add_item(cJSON *items, const struct finding *item) {
    cJSON *object = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(items, object))
        return false;
    return cJSON_AddStringToObject(object, "name", item->name) &&
           cJSON_AddStringToObject(object, "state", state_word(item)) &&
           cJSON_AddBoolToObject(object, "needed", item->needed) &&
           cJSON_AddStringToObject(object, "detail", item->detail) &&
           cJSON_AddStringToObject(object, "hint", item->hint);
}

static bool print_json(const struct findings *findings) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "version", PACKAGE_VERSION);
    cJSON_AddNumberToObject(root, "uid", geteuid());
    cJSON_AddBoolToObject(root, "ready", findings_ready(findings));
    cJSON *items = cJSON_AddArrayToObject(root, "items");
    bool good = items != NULL;
    for (size_t i = 0; good && i < findings->count; i++)
        good = add_item(items, &findings->items[i]);
    char *text = good ? cJSON_PrintUnformatted(root) : NULL;
    if (text)
        puts(text);
    cJSON_free(text);
    cJSON_Delete(root);
    return text != NULL;
}

int doctor_run(const struct args *args) {
    static struct findings findings; /* 70 KB: not for the stack */
    findings_collect(&findings, args->cgroup);
    findings_look_at_daemon(&findings, args->socket);
    bool good = true;
    if (args->json)
        good = print_json(&findings);
    else
        print_text(&findings);
    if (!good || fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "fnrun: doctor: cannot write to stdout: %s\n",
                good ? strerror(errno) : "out of memory");
        return ARGS_EXIT_BROKEN;
    }
    return findings_ready(&findings) ? ARGS_EXIT_OK : ARGS_EXIT_BROKEN;
}
