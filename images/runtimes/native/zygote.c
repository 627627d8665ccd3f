#include "images/runtimes/native/zygote.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "images/runtimes/gate_client.h"
#include "images/runtimes/native/collapse.h"

#define BUFFER (64ul << 10) /* an event this large needs no second call */

static struct gate_client client;
/* Never written before F: an untouched page costs less than a copied one. */
static char buffer[GATE_HEAD + BUFFER + 1] __attribute__((aligned(4096)));

void zygote_failed(const void *data, size_t length) {
    gate_failed(data, length);
}

/* Libraries with pthread_atfork handlers (OpenBLAS among them) stop their threads before a
 * fork and start them again when they are next used: in F. */
static void stop_threads(void) {
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child > 0)
        (void)waitpid(child, NULL, 0);
}

void zygote_become_event(void) {
    fflush(NULL); /* before every copy: none may print it again */
    stop_threads();
    collapse_heap();
    gate_prepare(&client);
    gate_become_event(&client);
}

char *zygote_receive_event(size_t *length) {
    long answer = gate_event(buffer, BUFFER + GATE_HEAD);
    if (answer & GATE_TRIAL)
        gate_reply(NULL, 0, GATE_RESULT);
    *length = (size_t)answer;
    if (*length <= BUFFER)
        return buffer + GATE_HEAD; /* the zero byte is there already */
    char *large = malloc(*length + 1);
    if (!large)
        return NULL;
    if (gate(GATE_MORE, large, *length, 0) < 0)
        gate_exit(0);
    large[*length] = '\0';
    return large;
}

void zygote_reply(const void *data, size_t length, long kind) {
    gate_reply(data, length, kind);
}
