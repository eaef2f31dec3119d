/* Memory of large results. The first write to fresh memory costs more than the arithmetic (a page fault every 4 KiB), so blocks come
 * in huge pages where the system has them, and those that results give back are kept for a while, up to a limit.
 *
 * Any thread may take and give, with or without the GIL. */
#include "binding.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
    HEADER = 64,           /* bytes before the memory: its size, in a line of its own, so that the memory is aligned to one */
    PAGE = 4096,           /* what lengths are rounded to */
    HUGE_PAGE = 1 << 21,   /* what blocks are aligned to */
    DECAY = 10,            /* seconds that a block is kept unused; looked at whenever one is taken or given */
    PLACES = 64,           /* blocks kept at most */
    TOO_LARGE_DIVISOR = 4, /* a kept block serves where at most a fourth of what is wanted is left over */
};

typedef struct {
    size_t size; /* of the whole block */
} header;

static struct {
    pthread_mutex_t lock;
    size_t limit, held;
    int64_t taken, reused;
    int blocks;
    struct {
        header *block;
        time_t given;
    } place[PLACES]; /* the one given last at the end */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static time_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec;
}

/* Takes place i's block out. The lock is held. */
static header *take_out(int i) {
    header *const block = pool.place[i].block;
    pool.held -= block->size;
    pool.blocks--;
    memmove(&pool.place[i], &pool.place[i + 1], (size_t)(pool.blocks - i) * sizeof *pool.place);
    return block;
}

/* Takes out the block that was given first, if there are more than `limit` bytes or it is older than `seconds`; NULL if not. The
 * lock is held. */
static header *oldest(size_t limit, time_t seconds) {
    bool const due = pool.blocks > 0 && (pool.held > limit || now() - pool.place[0].given >= seconds);
    return due ? take_out(0) : NULL;
}

/* Unmaps what is kept beyond a limit and an age; without the lock held during the system's work. */
static void drop(size_t limit, time_t seconds) {
    header *block;
    do {
        pthread_mutex_lock(&pool.lock);
        block = oldest(limit, seconds);
        pthread_mutex_unlock(&pool.lock);
        if (block) munmap(block, block->size);
    } while (block);
}

/* A block of fresh pages, all zero; NULL where there are none. */
static header *map(size_t size) {
    /* Longer by what aligning it needs, which is given back at once. */
    char *const start = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    size_t const skipped = (size_t)(-(uintptr_t)start % HUGE_PAGE);
    char *const block = start + skipped;
    if (skipped) munmap(start, skipped);
    munmap(block + size, HUGE_PAGE - skipped);
    madvise(block, size, MADV_HUGEPAGE); /* a wish: without it the pages are small ones */
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
    }
    pthread_mutex_unlock(&pool.lock);
    if (block == NULL) block = map(size);
    drop(pool.limit, DECAY);
    /* The memory is the caller's until it gives it back. */
    return block ? (char *)block + HEADER : NULL;
}

void pool_give(void *memory) {
    header *block = (header *)((char *)memory - HEADER);
    pthread_mutex_lock(&pool.lock);
    if (block->size <= pool.limit && pool.blocks < PLACES) {
        pool.place[pool.blocks].block = block;
        pool.place[pool.blocks].given = now();
        pool.blocks++;
        pool.held += block->size;
        block = NULL;
    }
    pthread_mutex_unlock(&pool.lock);
    if (block) munmap(block, block->size);
    drop(pool.limit, DECAY);
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

void pool_forget(void) {
    /* Another thread of the parent may have been at work on the list: the child leaves what was kept where it is. */
    pthread_mutex_init(&pool.lock, NULL);
    pool.blocks = 0;
    pool.held = 0;
}

PyObject *pool_empty(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    Py_BEGIN_ALLOW_THREADS;
    drop(0, 0);
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
