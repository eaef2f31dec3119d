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
    SPIN_US = 50,           /* what a helper waits awake for the next call: longer costs others the core */
    GIVE_WAY_US = 500,      /* after which a helper lets others run, so as not to be stopped for them within a chunk */
    WORTH_AWAKE = 1 << 20,  /* bytes read and written from which a helper that is awake is a gain: 60 µs of f32 */
    WORTH_ASLEEP = 1 << 23, /* and one that must be woken, which takes 10 to 40 µs */
    PATIENCE = 4,           /* smaller calls alone, after which helpers are woken all the same: there will be more of them */
    STACK = 256 << 10,      /* a task's frames, each at most 8 KiB, and the thread-local variables of all that is loaded */
    OPEN = 1 << 30,         /* of `state`: helpers may come in; below it, how many are in */
};

/* A call's work, on its stack. The chunks not yet taken are front … back-1, in one word: back in
 * its upper half. */
typedef struct {
    workers_task *task;
    const void *work;
    int64_t units, chunk;
    _Atomic uint64_t left;
} call;

/* All that the threads share. A helper reads `current` only while it is counted in `state`, and the
 * call it belongs to closes `state` and waits for the count to fall to 0 before it returns. */
static struct {
    _Atomic(const call *) current;
    _Atomic uint32_t state;
    _Atomic uint32_t calls;   /* counts the calls that asked for help, and changes of the setting: what helpers sleep on */
    _Atomic int asleep;       /* helpers that do */
    _Atomic bool taken;       /* by a call */
    _Atomic int processor;    /* that the call which has taken this began on */
    _Atomic int callers;      /* calls under way that are worth a helper which is awake */
    _Atomic uint32_t threads; /* the setting: what helpers beyond it sleep on */
    int helpers;              /* started; changed by the call that has taken this */
    int alone;                /* how many calls have gone alone since helpers slept, likewise */
    int forks;                /* from which this process has come, counted in the child */
} shared = {.threads = 1};

/* The helpers as the kernel knows them, and where it may run them: not where the caller does, which
 * has woken them last. */
static struct {
    _Atomic pid_t thread; /* 0 until it runs */
    void *scratch;        /* allocated when it is first started, and never freed */
    int avoids;           /* a processor, or -1; this and the rest are changed by the call that has taken `shared` */
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

/* Takes a chunk from the front or the back and runs it. False where none is left. */
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

/* How many helpers the setting has room for. */
static int room(void) {
    return (int)atomic_load(&shared.threads) - 1;
}

/* Works on the current call, if one is open and the setting has room for this helper. True where it
 * has left some, as it was to stop at this time. */
static bool help(int number, int64_t until_us) {
    if (number >= room()) return false;
    uint32_t seen = atomic_load(&shared.state);
    do {
        if (!(seen & OPEN)) return false;
    } while (!atomic_compare_exchange_weak(&shared.state, &seen, seen + 1));
    const call *const c = atomic_load(&shared.current);
    bool more = true;
    while (more && number < room() && now_us() < until_us) more = run_chunk(c, true, helpers[number].scratch);
    /* The last one out of a closed call wakes its caller. */
    if (atomic_fetch_sub(&shared.state, 1) == 1) futex_wake(&shared.state, 1);
    return more && number < room();
}

/* Helpers that are started, and that the setting has room for. The call has taken `shared`. */
static int helpers_in_use(void) {
    int const most = room();
    return shared.helpers < most ? shared.helpers : most;
}

/* The kernel likes to wake a thread where its waker runs, and lets it wait there for milliseconds
 * while other processors are idle. So the caller's is taken from those that helpers may run on; two
 * microseconds for each, when the caller has moved. */
static void keep_away(int processor) {
    for (int i = 0; i < helpers_in_use(); i++) {
        pid_t const thread = atomic_load(&helpers[i].thread);
        cpu_set_t now, *const all = &helpers[i].all, *const others = &helpers[i].others;
        if (thread == 0 || helpers[i].avoids == processor || sched_getaffinity(thread, sizeof now, &now) != 0) continue;
        if (helpers[i].avoids < 0 || !CPU_EQUAL(&now, others)) *all = now; /* somebody else has set it since */
        *others = *all;
        if (processor >= 0) CPU_CLR((size_t)processor, others);
        if (CPU_COUNT(others) == 0) *others = *all;
        sched_setaffinity(thread, sizeof *others, others);
        helpers[i].avoids = processor;
    }
}

/* Waits until the setting has room for a helper, apart from those that calls wake. */
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
    uint32_t done = atomic_load(&shared.calls) - 1; /* the call that started this one may still be there */
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

/* Starts helpers up to the setting. Fewer are no error: the caller does what they don't. */
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

/* Opens the call to the helpers, if it is worth that and nobody else has them. */
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

/* Closes the call and waits for the helpers that have begun: less than a chunk each. */
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
    if (units <= chunk && !gorsqrt_workers_are_worth(bytes)) { /* nothing to share, and nobody to count it */
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
    /* Where `interrupted` has forked, the child has what its parent's helpers had done by then, and
     * no more. */
    return !stopped && !(helped && forks != shared.forks);
}

void gorsqrt_set_threads(int threads) {
    atomic_store(&shared.threads, (uint32_t)(threads < 1 ? 1 : threads > WORKERS_MOST ? WORKERS_MOST : threads));
    /* All look at the setting anew, those that are on their way to sleep too: their count of calls
     * has passed. */
    atomic_fetch_add(&shared.calls, 1);
    futex_wake(&shared.calls, INT_MAX);
    futex_wake(&shared.threads, INT_MAX);
}

int gorsqrt_threads(void) {
    return (int)atomic_load(&shared.threads);
}

/* fork copies the calling thread only, whatever the others were doing. */
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
