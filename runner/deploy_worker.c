#include "runner/deploy_worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define STACK (1ul << 20) /* bytes; only what is touched costs */

struct job {
    struct job *next;
    struct worker *worker;
    pthread_t thread;
    void (*work)(void *owner);
    void (*done)(void *owner);
    void *owner;
};

struct worker {
    int finished_fd; /* an eventfd: jobs are in `finished` */
    sd_event_source *source;
    pthread_mutex_t lock; /* for `finished` alone */
    struct job *finished;
    pthread_cond_t ended;
    unsigned running; /* threads that have not put themselves into `finished` */
};

static void *run(void *argument) {
    struct job *job = argument;
    struct worker *worker = job->worker;
    uint64_t one = 1;
    job->work(job->owner);
    pthread_mutex_lock(&worker->lock);
    job->next = worker->finished;
    worker->finished = job;
    worker->running--;
    /* Inside the lock: worker_free closes the descriptor once nothing runs. A counter that
     * cannot be raised is one that says there is something already. */
    if (write(worker->finished_fd, &one, sizeof one) < 0)
        (void)errno;
    pthread_cond_signal(&worker->ended);
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

static int collect(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    struct worker *worker = userdata;
    uint64_t count;
    (void)source;
    (void)events;
    if (read(fd, &count, sizeof count) < 0)
        return 0;
    pthread_mutex_lock(&worker->lock);
    struct job *job = worker->finished;
    worker->finished = NULL;
    pthread_mutex_unlock(&worker->lock);
    while (job) {
        struct job *next = job->next;
        pthread_join(job->thread, NULL);
        if (job->done)
            job->done(job->owner);
        free(job);
        job = next;
    }
    return 0;
}

struct worker *worker_new(struct sd_event *loop) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->ended, NULL);
    worker->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->finished_fd < 0 ||
        sd_event_add_io(loop, &worker->source, worker->finished_fd, EPOLLIN, collect, worker) < 0) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

void worker_free(struct worker *worker) {
    if (!worker)
        return;
    pthread_mutex_lock(&worker->lock);
    while (worker->running)
        pthread_cond_wait(&worker->ended, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
    while (worker->finished) {
        struct job *job = worker->finished;
        worker->finished = job->next;
        pthread_join(job->thread, NULL);
        free(job);
    }
    sd_event_source_disable_unref(worker->source);
    if (worker->finished_fd >= 0)
        close(worker->finished_fd);
    pthread_cond_destroy(&worker->ended);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

int worker_run(struct worker *worker, void (*work)(void *owner), void (*done)(void *owner),
               void *owner) {
    struct job *job = calloc(1, sizeof *job);
    pthread_attr_t attributes;
    if (!job)
        return -ENOMEM;
    *job = (struct job){.worker = worker, .work = work, .done = done, .owner = owner};
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_mutex_lock(&worker->lock);
    /* Its number is set before the thread can be at its end: that takes the lock. */
    int r = pthread_create(&job->thread, &attributes, run, job);
    if (r == 0)
        worker->running++;
    pthread_mutex_unlock(&worker->lock);
    pthread_attr_destroy(&attributes);
    if (r)
        free(job);
    return -r;
}
