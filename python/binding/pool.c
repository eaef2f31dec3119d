/* Memory for large results. The first write to fresh memory costs more than the arithmetic (a page
 * fault every 4 KiB). So blocks have huge pages if the system offers them, and blocks that results
 * give back are kept for later results:
 *
 * - up to a limit in bytes;
 * - as many blocks as would have served earlier results, at first one: a loop that drops its result
 *   keeps one block, and many results that are dropped at once leave one;
 * - until they have been unused for two seconds. A thread checks that. It runs only while blocks
 *   are kept, and runs no Python or Go code.
 *
 * Needs nothing else of gorsqrt. Any thread may take and give, with or without the GIL. Results of
 * all kinds share the blocks. */
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER = 64,           /* bytes before the memory, for the block's size: a cache line, so that the memory begins at one */
    PAGE = 4096,           /* lengths are rounded up to this */
    HUGE_PAGE = 1 << 21,   /* blocks are aligned to this */
    DECAY_MS = 2000,       /* milliseconds after which an unused block is given back */
    STACK = 64 << 10,      /* stack bytes of the thread that gives blocks back, beside the system's minimum */
    PLACES = 64,           /* most blocks that are kept */
    TOO_LARGE_DIVISOR = 4, /* a kept block serves a request if at most a fourth of the request is left over */
};

typedef struct {
    size_t size; /* of the whole block, this header included */
} header;

static struct {
    pthread_mutex_t lock;
    size_t limit, held;
    int64_t taken, reused;
    int blocks, wanted; /* blocks kept, and how many may be kept */
    int refused;        /* blocks that were not kept because `wanted` were kept already, */
    int64_t refused_ms; /* and the time of the last one */
    bool drained;       /* whether the thread runs */
    struct {
        header *block;
        int64_t given_ms;
    } place[PLACES]; /* in the order in which they were given */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wanted = 1};

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Removes the block at place i. The lock is held. */
static header *take_out(int i) {
    header *const block = pool.place[i].block;
    pool.held -= block->size;
    pool.blocks--;
    memmove(&pool.place[i], &pool.place[i + 1], (size_t)(pool.blocks - i) * sizeof *pool.place);
    return block;
}

/* Unmaps blocks, the oldest first, until at most `limit` bytes are kept. The lock is held on entry
 * and exit, but not while the system unmaps. */
static void drop_to(size_t limit) {
    while (pool.blocks > 0 && pool.held > limit) {
        header *const block = take_out(0);
        pthread_mutex_unlock(&pool.lock);
        munmap(block, block->size);
        pthread_mutex_lock(&pool.lock);
    }
}

/* The thread's function: gives back blocks that are due, and ends when none is kept. */
static void *drain(void *unused) {
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    while (pool.blocks > 0) {
        int64_t const wait = pool.place[0].given_ms + DECAY_MS - now_ms();
        if (wait <= 0) {
            drop_to(pool.held - 1);
            pool.wanted = pool.blocks > 0 ? pool.blocks : 1;
        } else {
            struct timespec const t = {wait / 1000, wait % 1000 * 1000000};
            pthread_mutex_unlock(&pool.lock);
            nanosleep(&t, NULL);
            pthread_mutex_lock(&pool.lock);
        }
    }
    pool.drained = false;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* Whether the thread runs; starts it if not. The lock is held. */
static bool is_drained(void) {
    if (pool.drained) return true;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    long const least = sysconf(_SC_THREAD_STACK_MIN);
    pthread_attr_setstacksize(&attributes, STACK + (least > 0 ? (size_t)least : 0));
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, callers;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &callers);
    pthread_t thread;
    pool.drained = pthread_create(&thread, &attributes, drain, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
    pthread_attr_destroy(&attributes);
    return pool.drained;
}

/* Whether one more block is to be kept. Without the thread none is kept, since nothing would give
 * it back. The lock is held. */
static bool is_kept(size_t size) {
    if (size > pool.limit || pool.blocks == PLACES) return false;
    if (pool.blocks < pool.wanted) return is_drained();
    pool.refused++;
    pool.refused_ms = now_ms();
    return false;
}

/* No kept block fits. If one more block had been kept lately, it would have served: keep one more
 * from now on. The lock is held. */
static void want_more(void) {
    if (pool.refused == 0) return;
    if (now_ms() - pool.refused_ms > DECAY_MS) {
        pool.refused = 0;
    } else {
        pool.refused--;
        if (pool.wanted < PLACES) pool.wanted++;
    }
}

/* A block of fresh pages, all zero; NULL if the system has none. */
static header *map(size_t size) {
    /* Map more than `size`, so that an aligned block fits, and unmap the rest at once. */
    char *const start = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    size_t const skipped = (size_t)(-(uintptr_t)start % HUGE_PAGE);
    char *const block = start + skipped;
    if (skipped) munmap(start, skipped);
    munmap(block + size, HUGE_PAGE - skipped);
    madvise(block, size, MADV_HUGEPAGE); /* only a hint: without huge pages the block has small ones */
    ((header *)block)->size = size;
    return (header *)block;
}

void *pool_take(size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t const size = (bytes + HEADER + PAGE - 1) / PAGE * PAGE;
    header *block = NULL;
    pthread_mutex_lock(&pool.lock);
    int best = -1;
    for (int i = 0; i < pool.blocks; i++) {
        size_t const has = pool.place[i].block->size;
        if (has >= size && has - size <= size / TOO_LARGE_DIVISOR && (best < 0 || has < pool.place[best].block->size)) best = i;
    }
    pool.taken++;
    if (best >= 0) {
        pool.reused++;
        block = take_out(best);
    } else {
        want_more();
    }
    pthread_mutex_unlock(&pool.lock);
    if (block == NULL) block = map(size);
    if (block == NULL && pool_drop()) block = map(size);
    /* The memory is the caller's until it gives it back. */
    return block ? (char *)block + HEADER : NULL;
}

void pool_give(void *memory) {
    header *block = (header *)((char *)memory - HEADER);
    pthread_mutex_lock(&pool.lock);
    if (is_kept(block->size)) {
        pool.place[pool.blocks].block = block;
        pool.place[pool.blocks].given_ms = now_ms();
        pool.blocks++;
        pool.held += block->size;
        block = NULL;
        drop_to(pool.limit);
    }
    pthread_mutex_unlock(&pool.lock);
    if (block) munmap(block, block->size);
}

void pool_prepare(void *memory, size_t bytes) {
    if (bytes < POOLED) return;
    uintptr_t const begin = ((uintptr_t)memory + PAGE - 1) / PAGE * PAGE, end = ((uintptr_t)memory + bytes) / PAGE * PAGE;
    madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

size_t pool_size(const void *memory) {
    return ((const header *)((const char *)memory - HEADER))->size - HEADER;
}

void pool_set_limit(size_t bytes) {
    pool.limit = bytes;
}

static void forget(void) {
    /* Another thread of the parent may have been changing the list at the fork: the child abandons
     * the kept blocks. */
    pthread_mutex_init(&pool.lock, NULL);
    pool.blocks = pool.refused = 0;
    pool.held = 0;
    pool.drained = false;
}

/* Registered when the library is loaded: another thread may fork before the import ends. */
__attribute__((constructor(102))) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget);
}

bool pool_drop(void) {
    pthread_mutex_lock(&pool.lock);
    bool const had = pool.blocks > 0;
    pool.wanted = 1;
    pool.refused = 0;
    drop_to(0);
    pthread_mutex_unlock(&pool.lock);
    return had;
}

PyObject *pool_empty(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    Py_BEGIN_ALLOW_THREADS;
    pool_drop();
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

PyObject *pool_state(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    pthread_mutex_lock(&pool.lock);
    size_t const limit = pool.limit, held = pool.held;
    int const blocks = pool.blocks;
    long long const taken = pool.taken, reused = pool.reused;
    pthread_mutex_unlock(&pool.lock);
    return Py_BuildValue("{snsnsisLsL}", "limit", (Py_ssize_t)limit, "held", (Py_ssize_t)held, "blocks", blocks, "taken", taken,
                         "reused", reused);
}
