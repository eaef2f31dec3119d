/* Threads that help with large calls.
 *
 * The calling thread takes units from the front, helpers from the back, so each keeps to its own
 * part of memory and its own cache. When the front meets the back the caller waits only for helpers
 * that have begun. One call at a time has the helpers. Concurrent calls run on their own thread.
 * While at least `threads` large calls are running, no call asks for helpers. An item's bits don't
 * depend on the thread that computes it.
 *
 * Helpers never run Go or Python code, and take no signals. A forked child has none of its parent's
 * helpers, and starts its own. */
#ifndef GORSQRT_WORKERS_H
#define GORSQRT_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WORKERS_MOST = 256,        /* most threads that can be set */
    WORKERS_SCRATCH = 96 << 10 /* bytes of each helper's scratch memory, aligned to 64 */
};

/* Runs the units begin … end-1 of a piece of work. `scratch` belongs to the thread that runs them:
 * the caller or a helper. */
typedef void workers_task(const void *work, int64_t begin, int64_t end, void *scratch);

/* Whether a call that reads and writes this many bytes may have helpers. */
bool gorsqrt_workers_are_worth(int64_t bytes);

/* Runs all units of the work, `chunk` at a time. Between two of its chunks the caller calls
 * `interrupted` (may be NULL), and stops if that answers true. The answer is false if it stopped,
 * or in a child that `interrupted` has forked. Helpers take part if this many bytes are worth
 * it. */
bool gorsqrt_workers_run(workers_task *task, const void *work, void *scratch, int64_t units, int64_t chunk, int64_t bytes,
                         bool (*interrupted)(void *), void *context);

/* The number of threads that may work on one call, including the caller's: 1 until set, at most
 * WORKERS_MOST. A change takes effect at once: helpers beyond a lower number stop after their
 * chunk, and sleep until the number allows them again. */
void gorsqrt_set_threads(int threads);
int gorsqrt_threads(void);

#endif
