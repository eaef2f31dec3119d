/* The two functions of Python: their arguments, and who answers them. */
#include "binding.h"

#include <pthread.h>

/* "input" and "out", interned: keywords are compared by address first. */
static PyObject *name_input, *name_out;

/* Everything else: Go decides. */

void refusal_raise(const char *function, bool in_place, gorsqrt_refusal *refusal) {
    PyObject *const exceptions[] = {[RUNTIME_ERROR] = PyExc_RuntimeError,
                                    [TYPE_ERROR] = PyExc_TypeError,
                                    [VALUE_ERROR] = PyExc_ValueError,
                                    [OTHER_SHAPE] = PyExc_RuntimeError};
    PyObject *const exception = exceptions[refusal->kind];
    if (refusal->text == NULL) {
        PyErr_NoMemory();
    } else if (refusal->operand == NEITHER) {
        PyErr_SetString(exception, refusal->text);
    } else {
        PyErr_Format(exception, "%s(): argument '%s' %s", function, refusal->operand == DST && !in_place ? "out" : "input",
                     refusal->text);
    }
    free(refusal->text);
}

/* Enqueues x's result into y, both on CUDA devices. Whether that was refused. */
static bool launch(const gorsqrt_go *go, operand *y, operand *x, gorsqrt_refusal *refusal) {
    bool const lent = y->managed || x->managed;
    gorsqrt_mark mark = {.event = 0};
    PyThreadState *const thread = PyEval_SaveThread();
    bool const refused = go->launch_into(&y->array, &x->array, lent ? &mark : NULL, refusal);
    PyEval_RestoreThread(thread);
    if (lent && !refused) dlpack_hold(y, x, mark);
    return refused;
}

/* Opens what is closed, now that both operands are known to be on CUDA devices: for the stream that the other one is used on, so
 * that the call may be part of its capture; the legacy default one, which other streams wait for unless they were made not to,
 * where that has none. 0, or -1 with an exception set. */
static int open_closed(operand *y, operand *x, bool in_place) {
    uintptr_t stream = y->array.stream ? y->array.stream : x->array.stream;
    if (stream == 0) stream = LEGACY_STREAM;
    if (dlpack_is_closed(y) && dlpack_open(y, true, stream) < 0) return -1;
    return dlpack_is_closed(x) ? dlpack_open(x, in_place, stream) : 0;
}

/* Whether both are on CUDA devices, and not known to be on two. */
static bool are_on_one(const operand *y, const operand *x) {
    const gorsqrt_array *const a = &y->array, *const b = &x->array;
    return a->device == CUDA && b->device == CUDA && (a->index == b->index || a->index < 0 || b->index < 0);
}

/* A fresh array like x on its CUDA device, with its result enqueued. NULL with an exception set. */
static PyObject *launch_fresh(operand *x, int32_t dtype, const int64_t *strides) {
    PyObject *result = cuda_result(x, dtype, strides);
    if (result == NULL) return NULL;
    operand y;
    gorsqrt_refusal refusal;
    container const to = recognise(result);
    if (to == NOT_AN_ARRAY) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "rsqrt(): the allocator of 'input' gives no array");
        Py_DECREF(result);
        return NULL;
    }
    const gorsqrt_go *const go = operand_take(&y, result, to, true) < 0 ? NULL : go_ask();
    bool const refused = go && launch(go, &y, x, &refusal);
    if (refused) refusal_raise("rsqrt", false, &refusal);
    if (go == NULL || refused) Py_CLEAR(result);
    operand_release(&y);
    return result;
}

/* A fresh array like x in the CPU's memory, with its result. NULL with an exception set. */
static PyObject *compute_fresh(const operand *x, int32_t dtype, const int64_t *strides, const gorsqrt_plan *plan) {
    fresh const y = result_new(x, dtype, strides);
    if (y.object == NULL || run(plan, y.data, x->array.data) == 0) return y.object;
    Py_DECREF(y.object);
    return NULL;
}

PyObject *call_fresh(PyObject *input, container in) {
    operand x;
    PyObject *result = NULL;
    int failed = operand_take(&x, input, in, false);
    if (!failed && dlpack_is_closed(&x)) failed = dlpack_open(&x, false, LEGACY_STREAM);
    if (!failed) {
        gorsqrt_plan plan;
        int64_t strides[GORSQRT_MAX_NDIM];
        int32_t dtype;
        gorsqrt_refusal refusal;
        const gorsqrt_go *const go = go_ask(); /* last: taking an operand may run Python code, and that may fork */
        if (go == NULL) {
            result = NULL;
        } else if (go->decide_fresh(&plan, strides, &dtype, &x.array, &refusal)) {
            refusal_raise("rsqrt", false, &refusal);
        } else if (in == JAX_ARRAY) {
            result = jax_compute(&x, dtype);
        } else if (x.array.device == CUDA) {
            result = launch_fresh(&x, dtype, strides);
        } else {
            result = compute_fresh(&x, dtype, strides, &plan);
        }
        if (result) result = result_finish(&x, result);
    }
    operand_release(&x);
    return result;
}

PyObject *call_into(const char *function, bool in_place, PyObject *input, container in, PyObject *out, container to) {
    operand x, y;
    PyObject *result = NULL;
    if (in == JAX_ARRAY && to != JAX_ARRAY) {
        if (jax_needs_memory(function, input) < 0) return NULL;
        in = DLPACK;
    }
    /* First what is written: that may move a tensor's memory, which the input may be a view of. */
    if (operand_take(&y, out, to, true) == 0) {
        if (operand_take(&x, input, in, in_place) == 0) {
            gorsqrt_plan plan;
            gorsqrt_refusal refusal;
            bool const failed = are_on_one(&y, &x) && open_closed(&y, &x, in_place) < 0;
            /* last: taking an operand may run Python code, and that may fork */
            const gorsqrt_go *const go = failed ? NULL : go_ask();
            bool const there = x.array.launches && y.array.launches;
            if (go == NULL) {
                result = NULL;
            } else if (there ? launch(go, &y, &x, &refusal) : go->decide_into(&plan, &y.array, &x.array, &refusal)) {
                if (refusal.kind == OTHER_SHAPE && to == TORCH_KERNEL) {
                    free(refusal.text);
                    result = Py_NewRef(Py_None);
                } else if (refusal.kind == OTHER_SHAPE && to == TORCH_TENSOR) {
                    free(refusal.text);
                    result = torch_call(in_place, input, out); /* resizes it */
                } else {
                    refusal_raise(function, in_place, &refusal);
                }
            } else {
                if (there || run(&plan, y.array.data, x.array.data) == 0) result = Py_NewRef(out);
                if (to == TORCH_TENSOR) torch_written(out);
                if (to == NUMPY_ARRAY && result && numpy_written(out, input) < 0) Py_CLEAR(result);
            }
        }
        operand_release(&x);
    }
    operand_release(&y);
    return result;
}

/* Arguments: torch's order of judgement and torch's texts. */

static bool is_name(PyObject *keyword, PyObject *name, const char *text) {
    return keyword == name || PyUnicode_CompareWithASCIIString(keyword, text) == 0;
}

static void not_an_array(const char *function, const char *argument, const char *position, PyObject *object) {
    PyObject *type = (PyObject *)Py_TYPE(object);
    PyObject *module = PyObject_GetAttrString(type, "__module__");
    PyObject *name = module ? PyObject_GetAttrString(type, "__qualname__") : NULL;
    bool const bare = module && PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "builtins") == 0;
    PyObject *full = name == NULL ? NULL : bare ? Py_NewRef(name) : PyUnicode_FromFormat("%S.%S", module, name);
    if (full) {
        PyErr_Format(PyExc_TypeError,
                     "%s(): argument '%s'%s must be an array (buffer protocol, DLPack or array interface), not %U", function,
                     argument, position, full);
    }
    Py_XDECREF(full);
    Py_XDECREF(module);
    Py_XDECREF(name);
}

/* The container of an argument; NOT_AN_ARRAY with an exception set if it is not taken. */
static container recognised(const char *function, const char *argument, const char *position, PyObject *object) {
    container const found = recognise(object);
    if (found == OVERRIDES_UFUNC) {
        numpy_refuse(function, argument, object);
        return NOT_AN_ARRAY;
    }
    if (found == NOT_AN_ARRAY && !PyErr_Occurred()) not_an_array(function, argument, position, object);
    return found;
}

typedef struct {
    PyObject *input, *out; /* out: NULL where there is none */
    container in, to;
} arguments;

/* Reads the arguments of `function`. 0, or -1 with a TypeError set. */
static int read_arguments(arguments *a, const char *function, bool takes_out, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames) {
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes 1 positional argument but %zd were given", function, nargs);
        return -1;
    }
    Py_ssize_t const keywords = kwnames ? PyTuple_Size(kwnames) : 0;
    a->input = nargs == 1 ? args[0] : NULL;
    a->out = NULL;
    PyObject *unexpected = NULL;
    bool twice = false;
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *keyword = PyTuple_GetItem(kwnames, k), *value = args[nargs + k];
        if (takes_out && is_name(keyword, name_out, "out")) {
            a->out = value == Py_None ? NULL : value;
        } else if (!is_name(keyword, name_input, "input")) {
            if (unexpected == NULL) unexpected = keyword;
        } else if (a->input == NULL) {
            a->input = value;
        } else if (unexpected == NULL) {
            unexpected = keyword;
            twice = true;
        }
    }
    if (a->input == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional arguments: \"input\"", function);
        return -1;
    }
    if ((a->in = recognised(function, "input", nargs == 1 ? " (position 1)" : "", a->input)) == NOT_AN_ARRAY) return -1;
    if (a->out && (a->to = recognised(function, "out", "", a->out)) == NOT_AN_ARRAY) return -1;
    if (unexpected) {
        PyErr_Format(PyExc_TypeError,
                     twice ? "%s() got multiple values for argument '%U'" : "%s() got an unexpected keyword argument '%U'",
                     function, unexpected);
        return -1;
    }
    return 0;
}

/* Whether an argument is torch's business; true also with an exception set. */
static bool is_torchs(PyObject *object, container container, bool written) {
    torch_look unused;
    return container == TORCH_TENSOR && !torch_is_ordinary(object, written, &unused);
}

WITHOUT_CANARY static PyObject *rsqrt_fresh(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    (void)module;
    PyObject *result = NULL;
    bool tried = true;
    if (nargs == 1 && kwnames == NULL) {
        result = express_fresh(args[0]);
        if (result == NULL && !PyErr_Occurred()) result = torch_call_directly(false, args[0]);
    } else if (nargs == 1 && PyTuple_Size(kwnames) == 1 && PyTuple_GetItem(kwnames, 0) == name_out) {
        result = express_out(args[0], args[1]);
    } else {
        tried = false;
    }
    if (result || PyErr_Occurred()) return result;

    arguments a;
    if (read_arguments(&a, "rsqrt", true, args, nargs, kwnames) < 0) return NULL;
    /* numpy and array.array may have been found only now; of tensors the lane has said all that it knows. */
    if (!tried || a.in != TORCH_TENSOR) result = a.out ? express_out(a.input, a.out) : express_fresh(a.input);
    if (result == NULL && !tried && a.out == NULL && !PyErr_Occurred()) result = torch_call_directly(false, a.input);
    if (result || PyErr_Occurred()) return result;
    if (is_torchs(a.input, a.in, false) || (a.out && is_torchs(a.out, a.to, true)))
        return PyErr_Occurred() ? NULL : torch_call(false, a.input, a.out);
    return a.out ? call_into("rsqrt", false, a.input, a.in, a.out, a.to) : call_fresh(a.input, a.in);
}

WITHOUT_CANARY static PyObject *rsqrt_inplace(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    (void)module;
    PyObject *result = NULL;
    bool const tried = nargs == 1 && kwnames == NULL;
    if (tried) {
        result = express_in_place(args[0]);
        if (result == NULL && !PyErr_Occurred()) result = torch_call_directly(true, args[0]);
    }
    if (result || PyErr_Occurred()) return result;

    arguments a;
    if (read_arguments(&a, "rsqrt_", false, args, nargs, kwnames) < 0) return NULL;
    result = express_in_place(a.input);
    if (result == NULL && !tried && !PyErr_Occurred()) result = torch_call_directly(true, a.input);
    if (result || PyErr_Occurred()) return result;
    if (is_torchs(a.input, a.in, true)) return PyErr_Occurred() ? NULL : torch_call(true, a.input, NULL);
    return call_into("rsqrt_", true, a.input, a.in, a.input, a.in);
}

/* Install. */

static void once_per_process(void) {
    signals_settle_import();
    fork_install();
}

void call_once_per_process(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, once_per_process);
}

int call_install(const char *module_name, const char *rsqrt_doc, const char *rsqrt_inplace_doc) {
    name_input = PyUnicode_InternFromString("input");
    name_out = PyUnicode_InternFromString("out");
    /* Static: the functions refer to it for as long as the process lives. */
    static PyMethodDef methods[] = {
        {"rsqrt", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"rsqrt_", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"num_threads", run_threads, METH_NOARGS, "How many threads may work on one call."},
        {"threads_source", run_threads_source, METH_NOARGS, "Where that number comes from."},
        {"empty_cache", pool_empty, METH_NOARGS, "empty_cache($module)\n--\n\nGive kept memory back to the system."},
        {"cache_state", pool_state, METH_NOARGS, "What of large results' memory is kept: a dict."},
        {NULL, NULL, 0, NULL},
    };
    methods[0].ml_meth = (PyCFunction)(void (*)(void))rsqrt_fresh;
    methods[0].ml_doc = rsqrt_doc;
    methods[1].ml_meth = (PyCFunction)(void (*)(void))rsqrt_inplace;
    methods[1].ml_doc = rsqrt_inplace_doc;
    PyObject *module = PyImport_AddModule(module_name);
    if (name_input == NULL || name_out == NULL || module == NULL || result_install() < 0 || cuda_install() < 0 ||
        torch_install(module) < 0 || torch_storage_install(module) < 0 || jax_install(module) < 0)
        return -1;
    /* A module that is installed again, since gorsqrt is reloaded, keeps its functions: others know them by identity. */
    if (PyDict_GetItemString(PyModule_GetDict(module), "rsqrt")) return 0;
    return PyModule_AddFunctions(module, methods);
}
