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

/* The host ids that a claim's number can lead to, as a range. */
static void expect_apart(const struct idmap *ids, uint32_t single, uint32_t block) {
    struct idmap_environment host;
    idmap_environment(ids, block, &host);
    assert_true(ids->uid_start + single < host.zygote_uid);
    assert_true(ids->gid_start + single < host.zygote_gid);
    assert_true(host.slot_uid + IDMAP_SLOTS <= ids->uid_start + ids->uid_count);
    assert_true(host.slot_gid + IDMAP_SLOTS <= ids->gid_start + ids->gid_count);
    assert_int_equal(host.slot_uid, host.zygote_uid + 1);
}

static void an_environment_of_root_has_the_ids_of_its_block(void **state) {
    (void)state;
    struct idmap ids;
    struct idmap_environment host;
    struct error err = {0};
    const char *text = "fnrun:200000:65536\n";
    assert_int_equal(find(&ids, 0, text, "fnrun:300000:65536\n", &err), 0);
    assert_int_equal(idmap_environment_blocks(&ids), 64);
    idmap_environment(&ids, 3, &host);
    assert_int_equal(host.keeper_uid, 200000 + 3 * 1024);
    assert_int_equal(host.keeper_gid, 300000 + 3 * 1024);
    assert_int_equal(host.zygote_uid, host.keeper_uid + 1);
    assert_int_equal(host.slot_gid, host.keeper_gid + 2);
    assert_true(host.slot_uid + IDMAP_SLOTS <= host.keeper_uid + IDMAP_BLOCK);
}

static void a_users_environments_have_no_id_of_a_single_call(void **state) {
    (void)state;
    struct idmap ids;
    struct idmap_environment first, second;
    struct error err = {0};
    if (access("/usr/bin/newuidmap", X_OK) < 0)
        skip();
    const char *text = "ada:100000:65536\n";
    assert_int_equal(find(&ids, 1001, text, "ada:500000:65536\n", &err), 0);
    uint32_t blocks = idmap_environment_blocks(&ids);
    assert_int_equal(blocks, 63);
    expect_apart(&ids, ids.blocks - 1, 0);
    expect_apart(&ids, ids.blocks - 1, blocks - 1);
    idmap_environment(&ids, 0, &first);
    idmap_environment(&ids, 1, &second);
    assert_true(first.slot_uid + IDMAP_SLOTS <= second.zygote_uid);
    assert_int_equal(first.keeper_uid, geteuid());
}

static void a_range_without_room_for_an_environment_serves_none(void **state) {
    (void)state;
    struct idmap ids;
    struct error err = {0};
    assert_int_equal(find(&ids, 1001, "ada:100000:2047\n", "ada:100000:65536\n", &err), 0);
    assert_int_equal(idmap_environment_blocks(&ids), 0);
    assert_int_equal(find(&ids, 1001, "bob:100000:65536\n", "bob:100000:65536\n", &err), 0);
    assert_int_equal(idmap_environment_blocks(&ids), 0);
    assert_int_equal(idmap_write_environment(&ids, 0, getpid(), 1, &err), -EOPNOTSUPP);
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
        cmocka_unit_test(an_environment_of_root_has_the_ids_of_its_block),
        cmocka_unit_test(a_users_environments_have_no_id_of_a_single_call),
        cmocka_unit_test(a_range_without_room_for_an_environment_serves_none),
    };
    return cmocka_run_group_tests(tests, make_etc, remove_etc);
}
