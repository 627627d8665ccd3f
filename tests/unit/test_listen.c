#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/listen.h"
#include "runner/store.h"

static char folder[64], path[80];

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/fnrun-test-listen-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/socket", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int try_open(struct listening *listening, struct error *err) {
    return listen_open(listening, path, 0640, geteuid(), getegid(), err);
}

static int reach(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static void the_socket_has_its_mode_and_is_removed_at_the_end(void **state) {
    (void)state;
    struct listening listening;
    struct error err = {0};
    struct stat st;
    assert_int_equal(try_open(&listening, &err), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(reach(), 0);
    listen_remove(&listening);
    close(listening.fd);
    assert_int_equal(lstat(path, &st), -1);
}

static void a_live_daemons_socket_is_left_alone(void **state) {
    (void)state;
    struct listening first, second;
    struct error err = {0};
    assert_int_equal(try_open(&first, &err), 0);
    assert_int_equal(try_open(&second, &err), -EADDRINUSE);
    assert_non_null(strstr(err.message, "listening on"));
    listen_remove(&second);
    assert_int_equal(reach(), 0);
    listen_remove(&first);
    close(first.fd);
}

static void a_dead_daemons_socket_is_replaced(void **state) {
    (void)state;
    struct listening first, second;
    struct error err = {0};
    assert_int_equal(try_open(&first, &err), 0);
    close(first.fd);
    assert_int_equal(reach(), -ECONNREFUSED);
    assert_int_equal(try_open(&second, &err), 0);
    while (second.made.st_ctim.tv_nsec == first.made.st_ctim.tv_nsec) { /* one tick of the clock */
        listen_remove(&second);
        close(second.fd);
        assert_int_equal(try_open(&second, &err), 0);
    }
    /* The dead one's remover comes late: the new socket stays. */
    listen_remove(&first);
    assert_int_equal(reach(), 0);
    listen_remove(&second);
    close(second.fd);
}

static void a_file_in_the_way_is_no_socket_to_remove(void **state) {
    (void)state;
    struct listening listening;
    struct error err = {0};
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(try_open(&listening, &err), -EEXIST);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_missing_folder_and_a_long_path_are_named(void **state) {
    (void)state;
    struct listening listening;
    struct error err = {0};
    char long_path[200];
    assert_int_equal(listen_open(&listening, "/nonexistent/x", 0600, geteuid(), getegid(), &err),
                     -ENOENT);
    assert_non_null(strstr(err.message, "/nonexistent/x"));
    memset(long_path, 'x', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(listen_open(&listening, long_path, 0600, geteuid(), getegid(), &err),
                     -ENAMETOOLONG);
    assert_int_equal(listen_open(&listening, "relative", 0600, geteuid(), getegid(), &err),
                     -ENAMETOOLONG);
}

static void a_guarded_socket_goes_when_its_daemon_is_killed(void **state) {
    (void)state;
    struct listening listening;
    struct error err = {0};
    struct stat st;
    int ends[2];
    char byte;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        int r = try_open(&listening, &err) < 0 || listen_guard(&listening, &err) < 0;
        if (!r && write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(kill(daemon, SIGKILL), 0);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    /* Ends with the test's own deadline if it never goes. */
    alarm(10);
    while (lstat(path, &st) == 0)
        sched_yield();
    alarm(0);
    close(ends[0]);
}

static void a_guarded_socket_is_gone_when_remove_returns(void **state) {
    (void)state;
    struct listening listening;
    struct error err = {0};
    struct stat st;
    assert_int_equal(try_open(&listening, &err), 0);
    assert_int_equal(listen_guard(&listening, &err), 0);
    assert_int_equal(lstat(path, &st), 0);
    listen_remove(&listening);
    assert_int_equal(lstat(path, &st), -1);
    close(listening.fd);
}

static void a_store_of_another_user_is_refused(void **state) {
    (void)state;
    struct error err = {0};
    char store[128], part[160];
    struct identity self = {.name = "self", .uid = geteuid(), .gid = getegid()};
    struct identity other = {.name = "other", .uid = geteuid() + 1, .gid = getegid()};
    snprintf(store, sizeof store, "%s/a/store", folder);
    assert_int_equal(store_make(store, &self, &err), 0);
    assert_int_equal(store_make(store, &self, &err), 0);
    assert_int_equal(store_make(store, &other, &err), -EPERM);
    assert_non_null(strstr(err.message, "not to other"));
    assert_int_equal(store_make("relative", &self, &err), -EINVAL);
    const char *const parts[] = {"a/store/versions", "a/store/incoming", "a/store", "a"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct stat st;
        snprintf(part, sizeof part, "%s/%s", folder, parts[i]);
        assert_int_equal(lstat(part, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        assert_int_equal(rmdir(part), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_socket_has_its_mode_and_is_removed_at_the_end),
        TEST(a_live_daemons_socket_is_left_alone),
        TEST(a_dead_daemons_socket_is_replaced),
        TEST(a_file_in_the_way_is_no_socket_to_remove),
        TEST(a_missing_folder_and_a_long_path_are_named),
        TEST(a_guarded_socket_goes_when_its_daemon_is_killed),
        TEST(a_guarded_socket_is_gone_when_remove_returns),
        TEST(a_store_of_another_user_is_refused),
    };
    return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
