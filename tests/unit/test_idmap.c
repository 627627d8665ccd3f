#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isolate/idmap.h"

/* A folder that stands for /etc. */
static char etc[] = "/tmp/fnrun-test-idmap-XXXXXX";

static void put(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", etc, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int find(struct idmap *ids, uid_t euid, const char *subuid, const char *subgid,
                struct error *err) {
    put("passwd", "root:x:0:0:root:/root:/bin/bash\nada:x:1001:1001::/home/ada:/bin/sh\n");
    put("subuid", subuid);
    put("subgid", subgid);
    return idmap_find_from(ids, etc, euid, err);
}

static void root_takes_blocks_of_the_reserved_range(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    const char *text = "ada:100000:65536\nfnrun:1879048192:1048576\n";
    assert_int_equal(find(&ids, 0, text, text, &err), 0);
    assert_int_equal(ids.kind, IDMAP_RANGE);
    assert_int_equal(ids.uid_start, 1879048192u);
    assert_int_equal(ids.blocks, 1024);
}

static void root_without_a_reserved_range_is_told_the_command(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    assert_int_equal(find(&ids, 0, "ada:100000:65536\n", "ada:100000:65536\n", &err), -ENOENT);
    assert_non_null(strstr(err.message, "tee -a /etc/subuid /etc/subgid"));
}

static void an_overlap_with_another_owner_is_an_error_naming_both_lines(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    const char *text = "ada:100000:65536\n# comment\nfnrun:165535:65536\n";
    assert_int_equal(find(&ids, 0, text, text, &err), -EEXIST);
    assert_non_null(strstr(err.message, "subuid:3"));
    assert_non_null(strstr(err.message, "ada (line 1)"));
}

static void ranges_that_only_touch_do_not_overlap(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    const char *text = "ada:100000:65536\nfnrun:165536:65536\n";
    assert_int_equal(find(&ids, 0, text, text, &err), 0);
    assert_int_equal(ids.blocks, 64);
}

static void an_overlap_in_the_groups_file_alone_is_found(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    assert_int_equal(
        find(&ids, 0, "fnrun:200000:65536\n", "fnrun:200000:65536\nbob:200001:1\n", &err), -EEXIST);
    assert_non_null(strstr(err.message, "subgid"));
}

static void a_broken_line_of_ours_is_named_and_others_are_passed_over(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    assert_int_equal(find(&ids, 0, "nonsense\nfnrun:12x:5\n", "fnrun:1:2\n", &err), -EINVAL);
    assert_non_null(strstr(err.message, "subuid:2"));
    assert_int_equal(find(&ids, 0, "nonsense\nfnrun:200000:65536\n", "fnrun:200000:65536\n", &err),
                     0);
}

static void a_range_smaller_than_a_block_or_beyond_32_bits_is_refused(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    assert_int_equal(find(&ids, 0, "fnrun:200000:100\n", "fnrun:200000:65536\n", &err), -EINVAL);
    assert_int_equal(find(&ids, 0, "fnrun:4294967000:65536\n", "fnrun:200000:65536\n", &err),
                     -EINVAL);
}

static void a_user_is_found_by_name_or_by_number(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    if (access("/usr/bin/newuidmap", X_OK) < 0)
        skip();
    assert_int_equal(find(&ids, 1001, "ada:100000:65536\n", "1001:200000:10\n", &err), 0);
    assert_int_equal(ids.kind, IDMAP_SUBORDINATE);
    assert_int_equal(ids.uid_start, 100000);
    assert_int_equal(ids.gid_start, 200000);
    assert_int_equal(ids.blocks, 10);
}

static void a_user_without_subordinate_ids_gets_the_single_form_and_the_reason(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    assert_int_equal(find(&ids, 1001, "bob:100000:65536\n", "bob:100000:65536\n", &err), 0);
    assert_int_equal(ids.kind, IDMAP_SINGLE);
    assert_true(ids.why_single[0] != 0);
}

static int make_etc(void **state) {
    (void)state;
    return mkdtemp(etc) ? 0 : -1;
}

static int remove_etc(void **state) {
    (void)state;
    static const char *const names[] = {"passwd", "subuid", "subgid"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", etc, names[i]);
        unlink(path);
    }
    return rmdir(etc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_takes_blocks_of_the_reserved_range),
        cmocka_unit_test(root_without_a_reserved_range_is_told_the_command),
        cmocka_unit_test(an_overlap_with_another_owner_is_an_error_naming_both_lines),
        cmocka_unit_test(ranges_that_only_touch_do_not_overlap),
        cmocka_unit_test(an_overlap_in_the_groups_file_alone_is_found),
        cmocka_unit_test(a_broken_line_of_ours_is_named_and_others_are_passed_over),
        cmocka_unit_test(a_range_smaller_than_a_block_or_beyond_32_bits_is_refused),
        cmocka_unit_test(a_user_is_found_by_name_or_by_number),
        cmocka_unit_test(a_user_without_subordinate_ids_gets_the_single_form_and_the_reason),
    };
    return cmocka_run_group_tests(tests, make_etc, remove_etc);
}
