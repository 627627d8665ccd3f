#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cgroup.h"
#include "isolate/claim.h"

static char folder[] = "/tmp/fnrun-test-claim-XXXXXX";
static char run_dir[64];
static char swept[4][128];
static int sweeps, sweep_result;

/* Stands for cgroup.c's: what would be removed is written down. */
int cgroup_sweep(const char *path) {
    if (sweeps < 4)
        snprintf(swept[sweeps], sizeof swept[0], "%s", path);
    sweeps++;
    return sweep_result;
}

static void two_holders_have_two_blocks_and_a_free_one_is_taken_again(void **state) {
    (void)state;
    struct claim a, b, c;
    struct error err = {0};
    assert_int_equal(claim_take(&a, run_dir, 4, &err), 0);
    assert_int_equal(claim_take(&b, run_dir, 4, &err), 0);
    assert_int_equal(a.block, 0);
    assert_int_equal(b.block, 1);
    claim_release(&a);
    assert_int_equal(claim_take(&c, run_dir, 4, &err), 0);
    assert_int_equal(c.block, 0);
    claim_release(&b);
    claim_release(&c);
}

static void all_blocks_taken_is_busy_and_says_so(void **state) {
    (void)state;
    struct claim a, b;
    struct error err = {0};
    assert_int_equal(claim_take(&a, run_dir, 1, &err), 0);
    assert_int_equal(claim_take(&b, run_dir, 1, &err), -EBUSY);
    assert_non_null(strstr(err.message, "in use"));
    claim_release(&a);
}

/* A holder that is killed after it recorded its groups. */
static void die_holding(uint32_t blocks, const char *lines) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct claim claim;
        if (claim_take(&claim, run_dir, blocks, NULL) == 0 &&
            claim_record(&claim, lines, NULL) == 0 && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void the_groups_of_a_killed_holder_are_swept_last_made_first(void **state) {
    (void)state;
    struct claim claim;
    struct error err = {0};
    sweeps = 0;
    die_holding(4, "/sys/fs/cgroup/memory/x/fnrun-0-0\n/sys/fs/cgroup/pids/fnrun-0-0");
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(sweeps, 2);
    assert_string_equal(swept[0], "/sys/fs/cgroup/pids/fnrun-0-0");
    assert_string_equal(swept[1], "/sys/fs/cgroup/memory/x/fnrun-0-0");
    claim_release(&claim);
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(sweeps, 2);
    claim_release(&claim);
}

static void a_dead_holder_of_another_block_is_swept_too(void **state) {
    (void)state;
    struct claim first, claim;
    struct error err = {0};
    sweeps = 0;
    assert_int_equal(claim_take(&first, run_dir, 4, &err), 0);
    die_holding(4, "/sys/fs/cgroup/pids/fnrun-0-1");
    claim_release(&first);
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(claim.block, 0);
    assert_int_equal(sweeps, 1);
    assert_string_equal(swept[0], "/sys/fs/cgroup/pids/fnrun-0-1");
    claim_release(&claim);
}

static void a_block_of_which_something_stays_is_not_taken_and_tried_again(void **state) {
    (void)state;
    struct claim claim;
    struct error err = {0};
    sweeps = 0;
    sweep_result = -EBUSY;
    die_holding(4, "/sys/fs/cgroup/pids/fnrun-0-0");
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(claim.block, 1);
    assert_int_equal(sweeps, 1);
    claim_release(&claim);
    sweep_result = 0;
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(claim.block, 0);
    assert_int_equal(sweeps, 2);
    claim_release(&claim);
}

static void a_live_holder_is_never_swept(void **state) {
    (void)state;
    struct claim alive, claim;
    struct error err = {0};
    sweeps = 0;
    assert_int_equal(claim_take(&alive, run_dir, 4, &err), 0);
    assert_int_equal(claim_record(&alive, "/sys/fs/cgroup/pids/fnrun-0-0", &err), 0);
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(claim.block, 1);
    assert_int_equal(sweeps, 0);
    claim_release(&alive);
    claim_release(&claim);
}

static void a_record_that_names_no_group_of_ours_removes_nothing(void **state) {
    (void)state;
    struct claim claim;
    struct error err = {0};
    sweeps = 0;
    die_holding(4, "/etc\nrelative/fnrun-0-0\n/sys/fs/cgroup/system.slice");
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), 0);
    assert_int_equal(sweeps, 0);
    claim_release(&claim);
}

static void a_run_directory_that_others_can_write_is_refused(void **state) {
    (void)state;
    struct claim claim;
    struct error err = {0};
    assert_int_equal(chmod(run_dir, 0777), 0);
    assert_int_equal(claim_take(&claim, run_dir, 4, &err), -EPERM);
    assert_non_null(strstr(err.message, "not trusted"));
    assert_int_equal(chmod(run_dir, 0700), 0);
}

static void a_symbolic_link_in_its_place_is_refused(void **state) {
    (void)state;
    char link_path[80];
    struct claim claim;
    struct error err = {0};
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    assert_int_equal(symlink(run_dir, link_path), 0);
    assert_true(claim_take(&claim, link_path, 4, &err) < 0);
    unlink(link_path);
}

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(run_dir, sizeof run_dir, "%s/run", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char path[80];
    snprintf(path, sizeof path, "%s/claims", run_dir);
    unlink(path);
    rmdir(run_dir);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_holders_have_two_blocks_and_a_free_one_is_taken_again),
        cmocka_unit_test(all_blocks_taken_is_busy_and_says_so),
        cmocka_unit_test(the_groups_of_a_killed_holder_are_swept_last_made_first),
        cmocka_unit_test(a_dead_holder_of_another_block_is_swept_too),
        cmocka_unit_test(a_block_of_which_something_stays_is_not_taken_and_tried_again),
        cmocka_unit_test(a_live_holder_is_never_swept),
        cmocka_unit_test(a_record_that_names_no_group_of_ours_removes_nothing),
        cmocka_unit_test(a_run_directory_that_others_can_write_is_refused),
        cmocka_unit_test(a_symbolic_link_in_its_place_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
