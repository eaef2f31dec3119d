/* Calls that Go decides. Operands are taken, Go answers with a plan or a refusal, and the plan is
 * carried out on the CPU (run.c) or on a CUDA device (Go's launch). Needs container.c, go.c and
 * run.c. Nothing is written before the decision; operands are held until the call ends. */
#include "decide.h"
#include "container.h"
#include "dlpack.h"
#include "jax.h"
#include "run.h"
#include "torch.h"

#include <stdlib.h>

/* Enqueues a plan of two operands on their CUDA device. True if the launch was refused. */
static bool enqueue(const gorsqrt_go *go, gorsqrt_plan *plan, operand *y, operand *x, gorsqrt_refusal *refusal) {
    bool const lent = y->managed || x->managed;
    gorsqrt_mark mark = {.event = 0};
    PyThreadState *const thread = PyEval_SaveThread();
    bool const refused = go->launch(plan, &y->array, &x->array, lent ? &mark : NULL, refusal);
    PyEval_RestoreThread(thread);
    if (lent && !refused) dlpack_hold(y, x, mark);
    return refused;
}

/* A fresh array like x on x's CUDA device; its result is enqueued. NULL with an exception set. */
static PyObject *launch_fresh(const gorsqrt_go *go, gorsqrt_plan *plan, operand *x, int32_t dtype, const int64_t *strides) {
    const kind *const k = &kinds[x->container];
    PyObject *result = k->fresh(x, dtype, strides).object;
    if (result == NULL) return NULL;
    operand y;
    gorsqrt_refusal refusal;
    bool const taken = operand_take(&y, result, k->on_device, true) == 0;
    /* Ask again: the allocator may run Python code, which may fork. */
    bool const asked = taken && (go = go_ask()) != NULL;
    bool const refused = asked && enqueue(go, plan, &y, x, &refusal);
    if (refused) refusal_raise("rsqrt", false, &refusal);
    if (!asked || refused) Py_CLEAR(result);
    operand_release(&y);
    return result;
}

/* A fresh array like x in the CPU's memory, with the result in it. NULL with an exception set. */
static PyObject *run_fresh(const gorsqrt_plan *plan, const operand *x, int32_t dtype, const int64_t *strides) {
    fresh y = kinds[x->container].fresh(x, dtype, strides);
    if (y.object && run(plan, y.data, x->array.data) < 0) Py_CLEAR(y.object);
    return y.object;
}

/* The fresh result of an operand that has been taken. */
static PyObject *fresh_result(operand *x) {
    const kind *const k = &kinds[x->container];
    gorsqrt_plan plan;
    int64_t strides[GORSQRT_MAX_NDIM];
    int32_t dtype;
    gorsqrt_refusal refusal;
    const gorsqrt_go *const go = go_ask(); /* last: taking an operand may run Python code, and that may fork */
    if (go == NULL) return NULL;
    if (go->decide_fresh(&plan, strides, &dtype, &x->array, &refusal)) {
        refusal_raise("rsqrt", false, &refusal);
        return NULL;
    }
    if (k->compute) return k->compute(x, dtype);
    bool const on_cpu = x->array.device == CPU;
    PyObject *const result = on_cpu ? run_fresh(&plan, x, dtype, strides) : launch_fresh(go, &plan, x, dtype, strides);
    return result && k->finish ? k->finish(x, result) : result;
}

PyObject *decided_fresh(PyObject *input, container in) {
    operand x;
    int failed = operand_take(&x, input, in, false);
    if (!failed && dlpack_is_closed(&x)) failed = dlpack_open(&x, false, LEGACY_STREAM);
    PyObject *const result = failed ? NULL : fresh_result(&x);
    operand_release(&x);
    return result;
}

/* Opens the closed operands, now that both are known to be on CUDA devices. Each operand is opened
 * for the other operand's stream, so that the call can be part of that stream's capture. If neither
 * has a stream, they are opened for the legacy default stream: all streams wait for it, except
 * non-blocking ones. 0, or -1 with an exception set. */
static int open_closed(operand *y, operand *x, bool in_place) {
    uintptr_t stream = y->array.stream ? y->array.stream : x->array.stream;
    if (stream == 0) stream = LEGACY_STREAM;
    if (dlpack_is_closed(y) && dlpack_open(y, true, stream) < 0) return -1;
    return dlpack_is_closed(x) ? dlpack_open(x, in_place, stream) : 0;
}

/* Whether both are on CUDA devices, and not on two devices as far as is known. */
static bool are_on_one_device(const operand *y, const operand *x) {
    const gorsqrt_array *const a = &y->array, *const b = &x->array;
    return a->device == CUDA && b->device == CUDA && (a->index == b->index || a->index < 0 || b->index < 0);
}

/* Answers a refusal. torch resizes an `out` of another shape; if the caller is a kernel, the
 * kernel's own caller resizes it. */
static PyObject *refuse(const char *function, bool in_place, caller who, operand *y, operand *x, gorsqrt_refusal *refusal) {
    if (refusal->kind != OTHER_SHAPE || y->container != TORCH_TENSOR) {
        refusal_raise(function, in_place, refusal);
        return NULL;
    }
    free(refusal->text);
    return who == FOR_KERNEL ? Py_NewRef(Py_None) : torch_call(in_place, x->object, y->object);
}

/* The answer to a call whose operands have been taken. */
static PyObject *written_result(const char *function, bool in_place, caller who, operand *y, operand *x) {
    if (are_on_one_device(y, x) && open_closed(y, x, in_place) < 0) return NULL;
    gorsqrt_plan plan;
    gorsqrt_refusal refusal;
    const gorsqrt_go *const go = go_ask(); /* last: taking an operand may run Python code, and that may fork */
    if (go == NULL) return NULL;
    bool const on_device = x->array.is_open && y->array.is_open;
    PyThreadState *const thread = on_device ? PyEval_SaveThread() : NULL; /* Go may ask the driver which device it is */
    bool refused = go->decide_into(&plan, &y->array, &x->array, &refusal);
    if (thread) PyEval_RestoreThread(thread);
    if (!refused && on_device) refused = enqueue(go, &plan, y, x, &refusal);
    if (refused) return refuse(function, in_place, who, y, x, &refusal);
    PyObject *result = on_device || run(&plan, y->array.data, x->array.data) == 0 ? Py_NewRef(y->object) : NULL;
    const kind *const k = &kinds[y->container];
    bool const counted = who == FOR_KERNEL && y->container == TORCH_TENSOR; /* by torch's dispatcher */
    if (k->written && !counted && k->written(y->object, x->object) < 0) Py_CLEAR(result);
    return result;
}

PyObject *decided_into(const char *function, bool in_place, caller who, PyObject *input, container in, PyObject *out,
                       container to) {
    operand x, y;
    PyObject *result = NULL;
    if (in == JAX_ARRAY && to != JAX_ARRAY) {
        if (jax_needs_memory(function, input) < 0) return NULL;
        in = DLPACK;
    }
    /* Take `out` first: taking it may move a tensor's memory, and the input may be a view of it. */
    if (operand_take(&y, out, to, true) == 0) {
        if (operand_take(&x, input, in, in_place) == 0) result = written_result(function, in_place, who, &y, &x);
        operand_release(&x);
    }
    operand_release(&y);
    return result;
}
