/* Threads that help with large calls.
 *
 * The calling thread works from the front of its units, helpers from the back, so that each keeps
 * to its own part of memory and its own cache. A helper that has not begun when the front reaches
 * the back is not waited for. One call has the helpers at a time; others that come meanwhile work
 * alone, and so do all while there are as many large calls as threads are set. Which thread
 * computes an item has no influence on its bits.
 *
 * Helpers never run code of Go or Python, take no signals, and are not in a forked child, which
 * starts its own. */
#ifndef GORSQRT_WORKERS_H
#define GORSQRT_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WORKERS_MOST = 256,        /* threads that the setting may name */
    WORKERS_SCRATCH = 96 << 10 /* bytes of the scratch memory that each helper has, aligned to 64 */
};

/* The units begin … end-1 of a piece of work, with scratch memory of the thread that runs them: the
 * caller's or a helper's. */
typedef void workers_task(const void *work, int64_t begin, int64_t end, void *scratch);

/* Whether a call that reads and writes so many bytes may have helpers. */
bool gorsqrt_workers_are_worth(int64_t bytes);

/* Runs all units of the work, `chunk` at a time. Between two chunks the caller asks `interrupted`
 * (may be NULL) and stops where that answers true: false is then the answer, as in a child that
 * `interrupted` has forked off. Helpers are asked in where so many bytes are worth it. */
bool gorsqrt_workers_run(workers_task *task, const void *work, void *scratch, int64_t units, int64_t chunk, int64_t bytes,
                         bool (*interrupted)(void *), void *context);

/* How many threads may work on one call, the caller's among them: 1 until set, at most
 * WORKERS_MOST. It takes effect at once: helpers beyond a lower number stop within a chunk, and
 * sleep until there is room for them again. */
void gorsqrt_set_threads(int threads);
int gorsqrt_threads(void);

#endif
