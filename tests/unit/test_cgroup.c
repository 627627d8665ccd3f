#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cgroup.h"

/* A folder that stands for /sys/fs/cgroup; files in it are plain. */
static char top[] = "/tmp/fnrun-test-cgroup-XXXXXX";
static char mountinfo[4096];

static void make(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, "%s", top);
    for (const char *at = folder; at && *at; at = strchr(at + 1, '/')) {
        const char *next = strchr(at + 1, '/');
        snprintf(path, sizeof path, "%s%.*s", top,
                 (int)(next ? next - folder : (long)strlen(folder)), folder);
        mkdir(path, 0755);
    }
}

static void put(const char *file, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", top, file);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void mount_line(int number, const char *root, const char *point, const char *type,
                       const char *options) {
    size_t used = strlen(mountinfo);
    snprintf(mountinfo + used, sizeof mountinfo - used,
             "%d 1 0:%d %s %s%s rw,relatime shared:9 - %s %s rw,%s\n", number, number, root, top,
             point, type, type, options);
}

static int start(void **state) {
    (void)state;
    mountinfo[0] = 0;
    snprintf(mountinfo, sizeof mountinfo, "20 1 8:1 / / rw - ext4 /dev/sda rw\n");
    return 0;
}

static void expect_parent(const struct cgroup_layout *layout, int controller, int version,
                          const char *path) {
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s", top, path);
    assert_int_equal(layout->places[controller].version, version);
    assert_string_equal(layout->places[controller].parent, whole);
}

static void pure_v2_serves_every_controller_from_its_own_group(void **state) {
    (void)state;
    struct cgroup_layout layout;
    make("/v2/user/app");
    put("/v2/user/app/cgroup.controllers", "cpu memory pids\n");
    mount_line(30, "/", "/v2", "cgroup2", "nsdelegate");
    cgroup_find_in(&layout, mountinfo, "0::/user/app\n", NULL);
    expect_parent(&layout, CGROUP_MEMORY, 2, "/v2/user/app");
    expect_parent(&layout, CGROUP_PIDS, 2, "/v2/user/app");
    expect_parent(&layout, CGROUP_CPU, 2, "/v2/user/app");
    assert_true(cgroup_on_v2(&layout));
}

static void on_v1_each_controller_has_its_own_hierarchy_and_group(void **state) {
    (void)state;
    struct cgroup_layout layout;
    mount_line(30, "/", "/memory", "cgroup", "memory");
    mount_line(31, "/", "/pids", "cgroup", "pids");
    mount_line(32, "/", "/cpu,cpuacct", "cgroup", "cpu,cpuacct");
    cgroup_find_in(&layout, mountinfo, "4:memory:/a/b\n3:pids:/\n2:cpu,cpuacct:/c\n", NULL);
    expect_parent(&layout, CGROUP_MEMORY, 1, "/memory/a/b");
    expect_parent(&layout, CGROUP_PIDS, 1, "/pids");
    expect_parent(&layout, CGROUP_CPU, 1, "/cpu,cpuacct/c");
    expect_parent(&layout, CGROUP_CPUACCT, 1, "/cpu,cpuacct/c");
    assert_false(cgroup_on_v2(&layout));
}

static void in_a_hybrid_each_controller_is_taken_from_where_it_is(void **state) {
    (void)state;
    struct cgroup_layout layout;
    make("/unified");
    put("/unified/cgroup.controllers", "memory pids\n");
    mount_line(30, "/", "/cpu", "cgroup", "cpu");
    mount_line(31, "/", "/unified", "cgroup2", "nsdelegate");
    cgroup_find_in(&layout, mountinfo, "1:cpu:/\n0::/\n", NULL);
    expect_parent(&layout, CGROUP_CPU, 1, "/cpu");
    expect_parent(&layout, CGROUP_MEMORY, 2, "/unified");
    expect_parent(&layout, CGROUP_PIDS, 2, "/unified");
    assert_int_equal(layout.places[CGROUP_CPUACCT].version, 0);
}

static void an_empty_v2_mount_beside_full_v1_changes_nothing(void **state) {
    (void)state;
    struct cgroup_layout layout;
    make("/unified");
    put("/unified/cgroup.controllers", "\n");
    mount_line(30, "/", "/unified", "cgroup2", "rw");
    mount_line(31, "/", "/memory", "cgroup", "memory");
    cgroup_find_in(&layout, mountinfo, "1:memory:/\n0::/\n", NULL);
    expect_parent(&layout, CGROUP_MEMORY, 1, "/memory");
    assert_int_equal(layout.places[CGROUP_PIDS].version, 0);
}

static void cpu_is_not_found_in_cpuset_nor_memory_in_a_longer_word(void **state) {
    (void)state;
    struct cgroup_layout layout;
    mount_line(30, "/", "/cpuset", "cgroup", "cpuset");
    mount_line(31, "/", "/cpuacct", "cgroup", "cpuacct");
    cgroup_find_in(&layout, mountinfo, "1:cpuset:/\n2:cpuacct:/\n", NULL);
    assert_int_equal(layout.places[CGROUP_CPU].version, 0);
    expect_parent(&layout, CGROUP_CPUACCT, 1, "/cpuacct");
}

static void a_mount_that_shows_a_part_of_the_hierarchy_has_its_root_cut_off(void **state) {
    (void)state;
    struct cgroup_layout layout;
    mount_line(30, "/docker/x", "/memory", "cgroup", "memory");
    cgroup_find_in(&layout, mountinfo, "1:memory:/docker/x/y\n", NULL);
    expect_parent(&layout, CGROUP_MEMORY, 1, "/memory/y");
    cgroup_find_in(&layout, mountinfo, "1:memory:/docker/xyz\n", NULL);
    assert_int_equal(layout.places[CGROUP_MEMORY].version, 0);
}

static void a_missing_controller_is_an_error_that_names_the_ways_out(void **state) {
    (void)state;
    struct cgroup_layout layout;
    struct error err = {0};
    make("/memory");
    mount_line(30, "/", "/memory", "cgroup", "memory");
    cgroup_find_in(&layout, mountinfo, "1:memory:/\n", NULL);
    assert_int_equal(cgroup_usable(&layout, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.message, "pids"));
    assert_non_null(strstr(err.message, "--limits=rlimit"));
    assert_non_null(strstr(err.message, "systemd-run"));
}

static void a_v2_group_with_another_process_in_it_is_busy(void **state) {
    (void)state;
    struct cgroup_layout layout;
    struct error err = {0};
    char procs[64];
    make("/v2/app");
    put("/v2/app/cgroup.controllers", "cpu memory pids\n");
    put("/v2/app/cgroup.subtree_control", "");
    put("/v2/app/cgroup.type", "domain\n");
    snprintf(procs, sizeof procs, "%d\n1\n", (int)getpid());
    put("/v2/app/cgroup.procs", procs);
    mount_line(30, "/", "/v2", "cgroup2", "nsdelegate");
    cgroup_find_in(&layout, mountinfo, "0::/app\n", NULL);
    assert_int_equal(cgroup_usable(&layout, &err), -EBUSY);
    snprintf(procs, sizeof procs, "%d\n", (int)getpid());
    put("/v2/app/cgroup.procs", procs);
    assert_int_equal(cgroup_usable(&layout, &err), 0);
}

static void a_named_group_is_looked_for_in_every_hierarchy(void **state) {
    (void)state;
    struct cgroup_layout layout;
    make("/memory/graders/a");
    make("/pids/graders/a");
    make("/cpu");
    mount_line(30, "/", "/memory", "cgroup", "memory");
    mount_line(31, "/", "/pids", "cgroup", "pids");
    mount_line(32, "/", "/cpu", "cgroup", "cpu");
    cgroup_find_in(&layout, mountinfo, "1:memory:/\n2:pids:/\n3:cpu:/\n", "graders/a");
    expect_parent(&layout, CGROUP_MEMORY, 1, "/memory/graders/a");
    expect_parent(&layout, CGROUP_PIDS, 1, "/pids/graders/a");
    assert_int_equal(layout.places[CGROUP_CPU].version, 0);
}

static void the_record_lists_each_group_once(void **state) {
    (void)state;
    struct cgroup_layout layout;
    char lines[512], expected[512];
    make("/v2/app");
    put("/v2/app/cgroup.controllers", "cpu memory pids\n");
    mount_line(30, "/", "/v2", "cgroup2", "nsdelegate");
    cgroup_find_in(&layout, mountinfo, "0::/app\n", NULL);
    assert_true(cgroup_paths(&layout, "fnrun-0-3", lines, sizeof lines) > 0);
    /* The leaf that fnrun itself steps aside into was made first. */
    snprintf(expected, sizeof expected, "%s/v2/app/fnrun-0-3-runner\n%s/v2/app/fnrun-0-3", top,
             top);
    assert_string_equal(lines, expected);
}

static bool exists(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", top, folder);
    return access(path, F_OK) == 0;
}

static void a_group_is_removed_with_those_below_it_and_nothing_beside_it(void **state) {
    (void)state;
    int dir;
    make("/sweep/fnrun-0-1/zygote");
    make("/sweep/fnrun-0-1/0/inner/most");
    make("/sweep/fnrun-0-2");
    char path[256];
    snprintf(path, sizeof path, "%s/sweep", top);
    assert_true((dir = open(path, O_PATH | O_DIRECTORY)) >= 0);
    assert_int_equal(cgroup_remove_tree(dir, "fnrun-0-1"), 0);
    assert_false(exists("/sweep/fnrun-0-1"));
    assert_true(exists("/sweep/fnrun-0-2"));
    assert_int_equal(cgroup_remove_tree(dir, "fnrun-0-1"), 0); /* gone is gone */
    close(dir);
}

static void a_symbolic_link_below_a_group_is_not_followed(void **state) {
    (void)state;
    int dir;
    char path[256], target[256];
    make("/sweep/fnrun-0-3");
    make("/other/group");
    snprintf(target, sizeof target, "%s/other", top);
    snprintf(path, sizeof path, "%s/sweep/fnrun-0-3/link", top);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/sweep", top);
    assert_true((dir = open(path, O_PATH | O_DIRECTORY)) >= 0);
    assert_true(cgroup_remove_tree(dir, "fnrun-0-3") < 0);
    assert_true(exists("/other/group"));
    close(dir);
}

static void sweeping_what_is_not_there_is_no_error(void **state) {
    (void)state;
    char path[256];
    make("/sweep");
    snprintf(path, sizeof path, "%s/sweep/fnrun-0-9", top);
    assert_int_equal(cgroup_sweep(path), 0);
    snprintf(path, sizeof path, "%s/nowhere/fnrun-0-9", top);
    assert_int_equal(cgroup_sweep(path), 0);
}

/* The daemon stands in the group of its launcher, and leaves it with it. */
static void a_companion_does_not_make_a_v2_group_busy(void **state) {
    (void)state;
    struct cgroup_layout layout;
    struct error err = {0};
    char procs[64];
    make("/v2/unit");
    put("/v2/unit/cgroup.controllers", "cpu memory pids\n");
    put("/v2/unit/cgroup.subtree_control", "");
    put("/v2/unit/cgroup.type", "domain\n");
    snprintf(procs, sizeof procs, "%d\n%d\n", (int)getpid(), (int)getppid());
    put("/v2/unit/cgroup.procs", procs);
    mount_line(30, "/", "/v2", "cgroup2", "nsdelegate");
    cgroup_find_in(&layout, mountinfo, "0::/unit\n", NULL);
    assert_int_equal(cgroup_usable(&layout, &err), -EBUSY);
    layout.companion = getppid();
    assert_int_equal(cgroup_usable(&layout, &err), 0);
}

static int make_top(void **state) {
    (void)state;
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, start)
    const struct CMUnitTest tests[] = {
        TEST(pure_v2_serves_every_controller_from_its_own_group),
        TEST(on_v1_each_controller_has_its_own_hierarchy_and_group),
        TEST(in_a_hybrid_each_controller_is_taken_from_where_it_is),
        TEST(an_empty_v2_mount_beside_full_v1_changes_nothing),
        TEST(cpu_is_not_found_in_cpuset_nor_memory_in_a_longer_word),
        TEST(a_mount_that_shows_a_part_of_the_hierarchy_has_its_root_cut_off),
        TEST(a_missing_controller_is_an_error_that_names_the_ways_out),
        TEST(a_v2_group_with_another_process_in_it_is_busy),
        TEST(a_named_group_is_looked_for_in_every_hierarchy),
        TEST(the_record_lists_each_group_once),
        TEST(a_group_is_removed_with_those_below_it_and_nothing_beside_it),
        TEST(a_symbolic_link_below_a_group_is_not_followed),
        TEST(sweeping_what_is_not_there_is_no_error),
        TEST(a_companion_does_not_make_a_v2_group_busy),
    };
    return cmocka_run_group_tests(tests, make_top, remove_top);
}
