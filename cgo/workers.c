/* Threads that help with large calls (workers.h). Needs pthreads and Linux's futexes. Shared state
 * is atomic, or is changed only by the call that has the helpers. No helper touches a call's memory
 * after gorsqrt_workers_run has returned. */
#define _GNU_SOURCE
#include "workers.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SPIN_US = 50,           /* how long a helper stays awake for the next call; longer would cost other threads the core */
    GIVE_WAY_US = 500,      /* after this a helper yields the core, so that it is not preempted within a chunk */
    WORTH_AWAKE = 1 << 20,  /* bytes read and written; from here on a helper that is awake helps: 60 µs of f32 */
    WORTH_ASLEEP = 1 << 23, /* from here on also a helper that must be woken, which takes 10 to 40 µs */
    PATIENCE = 4,           /* after this many smaller calls without help, helpers are woken anyway: more calls will follow */
    STACK = 256 << 10, /* for a task's frames, each at most 8 KiB, and the thread-local variables of all loaded libraries */
    OPEN = 1 << 30,    /* bit of `state`: helpers may join; the lower bits count those that have joined */
};

/* A call's work, on the caller's stack. The chunks not yet taken are front … back-1, in one word
 * with back in its upper half. */
typedef struct {
    workers_task *task;
    const void *work;
    int64_t units, chunk;
    _Atomic uint64_t left;
} call;

/* The state that all threads share. A helper reads `current` only while it is counted in `state`.
 * Before the call that owns `current` returns, it closes `state` and waits until the count is 0. */
static struct {
    _Atomic(const call *) current;
    _Atomic uint32_t state;
    _Atomic uint32_t calls;   /* number of calls that asked for help and of changes of the setting; helpers sleep on it */
    _Atomic int asleep;       /* helpers that sleep on `calls` */
    _Atomic bool taken;       /* a call has the helpers */
    _Atomic int processor;    /* the processor on which that call began */
    _Atomic int callers;      /* running calls that are large enough for a helper that is awake */
    _Atomic uint32_t threads; /* the setting; helpers beyond it sleep on it */
    int helpers;              /* helpers started; changed only by the call that has the helpers */
    int alone;                /* calls without help since the helpers fell asleep; changed likewise */
    int forks;                /* number of forks between the first process and this one, counted in the child */
} shared = {.threads = 1};

/* The helpers' kernel threads, and the processors that they may run on: not the one of the caller
 * that woke them last. */
static struct {
    _Atomic pid_t thread; /* 0 until it runs */
    void *scratch;        /* allocated when it is first started, and never freed */
    int avoids;           /* a processor, or -1; this and the next line are changed only by the call that has the helpers */
    cpu_set_t all, others;
} helpers[WORKERS_MOST];

static void futex_wait(_Atomic uint32_t *word, uint32_t seen) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static inline void relax(void) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Takes a chunk from the front or the back and runs it. False if none is left. */
static bool run_chunk(const call *c, bool from_back, void *scratch) {
    _Atomic uint64_t *const left = (_Atomic uint64_t *)&c->left;
    uint64_t seen = atomic_load_explicit(left, memory_order_relaxed);
    uint64_t front, back;
    do {
        front = (uint32_t)seen;
        back = seen >> 32;
        if (front == back) return false;
    } while (!atomic_compare_exchange_weak_explicit(left, &seen, from_back ? seen - (UINT64_C(1) << 32) : seen + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    int64_t const begin = (int64_t)(from_back ? back - 1 : front) * c->chunk;
    c->task(c->work, begin, c->units - begin < c->chunk ? c->units : begin + c->chunk, scratch);
    return true;
}

/* How many helpers the setting allows. */
static int room(void) {
    return (int)atomic_load(&shared.threads) - 1;
}

/* Works on the current call, if one is open and the setting allows this helper. True if chunks are
 * left because the time was up. */
static bool help(int number, int64_t until_us) {
    if (number >= room()) return false;
    uint32_t seen = atomic_load(&shared.state);
    do {
        if (!(seen & OPEN)) return false;
    } while (!atomic_compare_exchange_weak(&shared.state, &seen, seen + 1));
    const call *const c = atomic_load(&shared.current);
    bool more = true;
    while (more && number < room() && now_us() < until_us) more = run_chunk(c, true, helpers[number].scratch);
    /* The last helper to leave a closed call wakes its caller. */
    if (atomic_fetch_sub(&shared.state, 1) == 1) futex_wake(&shared.state, 1);
    return more && number < room();
}

/* The number of helpers that have started and that the setting allows. Only the call that has the
 * helpers may ask. */
static int helpers_in_use(void) {
    int const most = room();
    return shared.helpers < most ? shared.helpers : most;
}

/* Linux tends to wake a thread on its waker's processor, and to let it wait there for milliseconds
 * while other processors are idle. So helpers may not run on the caller's processor. If the caller
 * has moved, that costs two microseconds per helper. */
static void keep_away(int processor) {
    for (int i = 0; i < helpers_in_use(); i++) {
        pid_t const thread = atomic_load(&helpers[i].thread);
        cpu_set_t now, *const all = &helpers[i].all, *const others = &helpers[i].others;
        if (thread == 0 || helpers[i].avoids == processor || sched_getaffinity(thread, sizeof now, &now) != 0) continue;
        if (helpers[i].avoids < 0 || !CPU_EQUAL(&now, others)) *all = now; /* the program has changed the affinity since */
        *others = *all;
        if (processor >= 0) CPU_CLR((size_t)processor, others);
        if (CPU_COUNT(others) == 0) *others = *all;
        sched_setaffinity(thread, sizeof *others, others);
        helpers[i].avoids = processor;
    }
}

/* Waits until the setting allows a helper, apart from the helpers that calls wake. */
static void sleep_apart(int number) {
    for (;;) {
        uint32_t const threads = atomic_load(&shared.threads);
        if (number < (int)threads - 1) return;
        futex_wait(&shared.threads, threads);
    }
}

static void *helper(void *argument) {
    int const number = (int)(intptr_t)argument;
    atomic_store(&helpers[number].thread, (pid_t)syscall(SYS_gettid));
    int64_t give_way = now_us() + GIVE_WAY_US;
    uint32_t done = atomic_load(&shared.calls) - 1; /* the call that started this helper may still be running */
    for (;;) {
        uint32_t seen = atomic_load(&shared.calls);
        int64_t until = 0;
        for (int turn = 0; seen == done; turn++) {
            sleep_apart(number);
            relax();
            if (turn % 64 == 63) {
                int64_t const now = now_us();
                if (until == 0) until = now + SPIN_US;
                if (now >= until || sched_getcpu() == atomic_load(&shared.processor)) {
                    atomic_fetch_add(&shared.asleep, 1);
                    futex_wait(&shared.calls, done);
                    atomic_fetch_sub(&shared.asleep, 1);
                    give_way = now_us() + GIVE_WAY_US;
                }
            }
            seen = atomic_load(&shared.calls);
        }
        done = seen;
        while (help(number, give_way)) {
            sched_yield();
            give_way = now_us() + GIVE_WAY_US;
        }
    }
    return NULL;
}

/* Starts helpers up to the setting. It is no error if fewer start: the caller does their work. */
static void start_helpers(void) {
    int const wanted = room();
    if (shared.helpers >= wanted) return;
    sigset_t all, callers;
    sigfillset(&all);
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &callers);
    for (; shared.helpers < wanted; shared.helpers++) {
        pthread_t thread;
        void **const scratch = &helpers[shared.helpers].scratch;
        if (*scratch == NULL && (*scratch = aligned_alloc(64, WORKERS_SCRATCH)) == NULL) break;
        atomic_store(&helpers[shared.helpers].thread, 0);
        helpers[shared.helpers].avoids = -1;
        if (pthread_create(&thread, &attributes, helper, (void *)(intptr_t)shared.helpers) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
    pthread_attr_destroy(&attributes);
}

/* Opens the call to the helpers if it is large enough and no other call has them. */
static bool ask_helpers(const call *c, int64_t bytes) {
    int const threads = (int)atomic_load_explicit(&shared.threads, memory_order_relaxed);
    if (atomic_load_explicit(&shared.callers, memory_order_relaxed) >= threads || (uint64_t)c->left >> 32 < 2) return false;
    if (atomic_exchange(&shared.taken, true)) return false;
    start_helpers();
    int const in_use = helpers_in_use();
    bool const all_asleep = atomic_load(&shared.asleep) >= in_use;
    bool const wake = bytes >= WORTH_ASLEEP || (all_asleep && ++shared.alone > PATIENCE);
    if (in_use == 0 || (all_asleep && !wake)) {
        atomic_store(&shared.taken, false);
        return false;
    }
    shared.alone = 0;
    int const processor = sched_getcpu();
    atomic_store(&shared.processor, processor);
    atomic_store(&shared.current, c);
    atomic_store(&shared.state, OPEN);
    atomic_fetch_add(&shared.calls, 1);
    if (wake && atomic_load(&shared.asleep) > 0) {
        keep_away(processor);
        futex_wake(&shared.calls, in_use);
    }
    return true;
}

/* Closes the call and waits for the helpers that have begun, each for less than a chunk. */
static void dismiss_helpers(void) {
    uint32_t inside = atomic_fetch_and(&shared.state, ~(uint32_t)OPEN) & ~(uint32_t)OPEN;
    for (int turn = 0; inside != 0; turn++) {
        if (turn < 1000) {
            relax();
        } else {
            futex_wait(&shared.state, inside);
        }
        inside = atomic_load(&shared.state);
    }
    atomic_store(&shared.taken, false);
}

bool gorsqrt_workers_are_worth(int64_t bytes) {
    return bytes >= WORTH_AWAKE;
}

bool gorsqrt_workers_run(workers_task *task, const void *work, void *scratch, int64_t units, int64_t chunk, int64_t bytes,
                         bool (*interrupted)(void *), void *context) {
    if (units <= chunk && !gorsqrt_workers_are_worth(bytes)) { /* a single chunk, too small to count */
        task(work, 0, units, scratch);
        return true;
    }
    while (units / chunk >= INT32_MAX) chunk *= 2;
    call c = {task, work, units, chunk, (uint64_t)((units + chunk - 1) / chunk) << 32};
    int const forks = shared.forks;
    bool const worth = gorsqrt_workers_are_worth(bytes);
    if (worth) atomic_fetch_add_explicit(&shared.callers, 1, memory_order_relaxed);
    bool const helped = worth && ask_helpers(&c, bytes);
    bool stopped = false;
    while (!stopped && run_chunk(&c, false, scratch)) {
        bool const more = (uint32_t)c.left != c.left >> 32;
        stopped = more && interrupted && interrupted(context);
    }
    if (stopped) atomic_store(&c.left, 0);
    if (helped) dismiss_helpers();
    if (worth && forks == shared.forks) atomic_fetch_sub_explicit(&shared.callers, 1, memory_order_relaxed);
    /* If `interrupted` has forked, the child has only the parts that its parent's helpers had
     * finished by then. */
    return !stopped && !(helped && forks != shared.forks);
}

void gorsqrt_set_threads(int threads) {
    atomic_store(&shared.threads, (uint32_t)(threads < 1 ? 1 : threads > WORKERS_MOST ? WORKERS_MOST : threads));
    /* All helpers read the setting again. The changed count also stops those that are just about to
     * sleep. */
    atomic_fetch_add(&shared.calls, 1);
    futex_wake(&shared.calls, INT_MAX);
    futex_wake(&shared.threads, INT_MAX);
}

int gorsqrt_threads(void) {
    return (int)atomic_load(&shared.threads);
}

/* fork copies only the calling thread; the other threads' state is reset. */
static void after_fork_in_child(void) {
    shared.forks++;
    shared.helpers = 0;
    atomic_store(&shared.state, 0);
    atomic_store(&shared.asleep, 0);
    atomic_store(&shared.taken, false);
    atomic_store(&shared.callers, 0);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
}
