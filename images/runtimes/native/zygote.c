#include "images/runtimes/native/zygote.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "images/runtimes/gate_client.h"

#define BUFFER (64ul << 10) /* an event this large needs no second call */

static struct gate_client client;
static int on_trial;
/* Never written before F: an untouched page costs less than a copied one. */
static char buffer[BUFFER + 1] __attribute__((aligned(4096)));

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

char *zygote_become_event(size_t *length, int *trial) {
    fflush(NULL); /* before every copy: none may print it again */
    stop_threads();
    gate_prepare(&client);
    gate_become_event(&client);

    buffer[0] = 0; /* its fault, before the event's time begins */
    long answer = gate(GATE_EVENT, buffer, BUFFER, 0);
    if (answer < 0)
        gate_exit(0);
    *trial = on_trial = (answer & GATE_TRIAL) != 0;
    if (on_trial)
        return NULL;
    *length = (size_t)answer;
    if (*length <= BUFFER)
        return buffer; /* the zero byte is there already */
    char *large = malloc(*length + 1);
    if (!large)
        return NULL;
    if (gate(GATE_MORE, large, *length, 0) < 0)
        gate_exit(0);
    large[*length] = '\0';
    return large;
}

void zygote_reply(const void *data, size_t length, long kind) {
    gate_reply(data, on_trial ? 0 : length, on_trial ? GATE_RESULT : kind);
}
