/* Carries out plans on the CPU for Python: long calls give up the GIL, and Ctrl-C ends them. Needs
 * cgo's plans and workers. After an interrupted call dst is partly written. */
#include "run.h"
#include "threads.h"

#include <time.h>

#include "../../cgo/workers.h"

enum {
    SHORT_CALL = 1 << 13,     /* items; for fewer, giving up the GIL costs more than keeping it for some microseconds */
    LOOK_AT_SIGNALS_MS = 100, /* how often a long call checks for signals */
};

/* A call that runs without the GIL. */
typedef struct {
    PyThreadState *thread;
    int64_t looked_ms;
} flight;

/* Accurate to some milliseconds, at a quarter of the cost of the exact time. */
static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Lets Python's signal handlers run every LOOK_AT_SIGNALS_MS, so that Ctrl-C ends a long call. */
static bool interrupted(void *context) {
    flight *f = context;
    int64_t const now = now_ms();
    if (now - f->looked_ms < LOOK_AT_SIGNALS_MS) return false;
    PyEval_RestoreThread(f->thread);
    bool const raised = PyErr_CheckSignals() != 0;
    f->thread = PyEval_SaveThread();
    f->looked_ms = now_ms();
    return raised;
}

/* The same in a loop. */
static bool loop_interrupted(void *looked_ms) {
    int64_t *const looked = looked_ms;
    if (now_ms() - *looked < LOOK_AT_SIGNALS_MS) return false;
    PyGILState_STATE const state = PyGILState_Ensure();
    bool const raised = PyErr_CheckSignals() != 0;
    PyGILState_Release(state);
    *looked = now_ms();
    return raised;
}

static bool may_have_helpers(const gorsqrt_plan *plan) {
    return gorsqrt_workers_are_worth(plan->n * (plan->src_size + plan->dst_size));
}

static void raise_outcome(enum gorsqrt_outcome outcome) {
    if (outcome == GORSQRT_NO_MEMORY) PyErr_NoMemory();
    if (outcome == GORSQRT_INTERRUPTED && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: a signal handler forked this process in the middle of a call; the helper "
                                            "threads are not in the child, so out is partly written");
    }
}

int run(const gorsqrt_plan *plan, void *dst, const void *src) {
    enum gorsqrt_outcome outcome;
    if (plan->n < SHORT_CALL) {
        outcome = gorsqrt_execute(plan, dst, src, NULL, NULL);
    } else {
        if (may_have_helpers(plan) && threads_ask_torch() < 0) return -1;
        flight f = {.thread = PyEval_SaveThread(), .looked_ms = now_ms()};
        outcome = gorsqrt_execute(plan, dst, src, interrupted, &f);
        PyEval_RestoreThread(f.thread);
    }
    raise_outcome(outcome);
    return outcome == GORSQRT_DONE ? 0 : -1;
}

void run_in_loop(const gorsqrt_plan *plan, void *dst, const void *src) {
    bool const is_long = plan->n >= SHORT_CALL;
    if (is_long && may_have_helpers(plan)) {
        PyGILState_STATE const state = PyGILState_Ensure();
        int const failed = threads_ask_torch();
        PyGILState_Release(state);
        if (failed) return;
    }
    int64_t looked_ms = is_long ? now_ms() : 0;
    enum gorsqrt_outcome const outcome = gorsqrt_execute(plan, dst, src, is_long ? loop_interrupted : NULL, &looked_ms);
    if (outcome == GORSQRT_DONE) return;
    PyGILState_STATE const state = PyGILState_Ensure();
    raise_outcome(outcome);
    PyGILState_Release(state);
}

WITHOUT_CANARY int run_plain(int32_t dtype, int64_t n, void *dst, const void *src) {
    gorsqrt_kernel *const kernel = go_now->express[dtype];
    if (n < SHORT_CALL) {
        kernel(dst, src, (size_t)n);
        return 0;
    }
    gorsqrt_plan plan;
    plan.n = plan.shape[0] = n;
    plan.src_size = plan.dst_size = plan.src_strides[0] = plan.dst_strides[0] = gorsqrt_item_size[dtype];
    plan.src_offset = plan.dst_offset = plan.temporary = 0;
    plan.ndim = plan.stages = 1;
    plan.mover = NULL;
    plan.kernels = go_now->kernels[dtype];
    plan.stage[0] = kernel;
    return run(&plan, dst, src);
}
