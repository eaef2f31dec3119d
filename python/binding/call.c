#include "binding.h"

#include "_cgo_export.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

enum {
    SHORT_CALL = 1 << 13,     /* items below which keeping the GIL costs less than giving it up: some microseconds */
    LOOK_AT_SIGNALS_MS = 100, /* between two looks of a long call */
};

gorsqrt_kernel *express[GORSQRT_DTYPES];

/* "input" and "out", interned: keywords are compared by address first. */
static PyObject *name_input, *name_out;

/* Running. */

/* A call that runs without the GIL. */
typedef struct {
    PyThreadState *thread;
    int64_t looked_ms;
} flight;

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Lets Python's signal handlers run now and then, so that Ctrl-C ends a long call. */
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

/* Carries out a plan; the memory at dst and src is held by the caller. 0, or -1 with an exception set. */
static int run(const gorsqrt_plan *plan, void *dst, const void *src) {
    enum gorsqrt_outcome outcome;
    if (plan->n < SHORT_CALL) {
        outcome = gorsqrt_execute(plan, dst, src, NULL, NULL);
    } else {
        flight f = {.thread = PyEval_SaveThread(), .looked_ms = now_ms()};
        outcome = gorsqrt_execute(plan, dst, src, interrupted, &f);
        PyEval_RestoreThread(f.thread);
    }
    if (outcome == GORSQRT_NO_MEMORY) PyErr_NoMemory();
    return outcome == GORSQRT_DONE ? 0 : -1;
}

static int run_plain(int32_t dtype, int64_t n, void *dst, const void *src) {
    gorsqrt_kernel *const kernel = express[dtype];
    if (n < SHORT_CALL) {
        kernel(dst, src, (size_t)n);
        return 0;
    }
    static const int64_t size[GORSQRT_DTYPES] = {[GORSQRT_F32] = 4, [GORSQRT_F64] = 8};
    gorsqrt_plan plan;
    plan.n = plan.shape[0] = n;
    plan.src_size = plan.dst_size = plan.src_strides[0] = plan.dst_strides[0] = size[dtype];
    plan.src_offset = plan.dst_offset = 0;
    plan.ndim = plan.stages = 1;
    plan.temporary = 0;
    plan.stage[0] = (gorsqrt_stage){kernel, size[dtype]};
    return run(&plan, dst, src);
}

/* The express lane: plain arrays of one dtype, disjoint or identical; nothing to decide. */

/* Each answers NULL without an exception where the call is not one of these, and the decision is Go's. */

static PyObject *express_fresh(PyObject *input) {
    plain x;
    if (!plain_take(&x, input)) return NULL;
    void *data;
    PyObject *result = result_like_plain(&x, &data);
    if (result && run_plain(x.dtype, x.n, data, x.data) < 0) Py_CLEAR(result);
    plain_release(&x);
    return result;
}

static PyObject *express_in_place(PyObject *input) {
    plain x;
    if (!plain_take(&x, input)) return NULL;
    PyObject *result = NULL;
    if (!x.read_only && run_plain(x.dtype, x.n, x.data, x.data) == 0) result = Py_NewRef(input);
    plain_release(&x);
    return result;
}

static PyObject *express_out(PyObject *input, PyObject *out) {
    plain x, y;
    if (!plain_take(&x, input)) return NULL;
    PyObject *result = NULL;
    if (plain_take(&y, out)) {
        bool same = y.dtype == x.dtype && y.ndim == x.ndim && !y.read_only;
        for (int d = 0; same && d < x.ndim; d++) same = y.shape[d] == x.shape[d];
        uintptr_t const from = (uintptr_t)x.data, to = (uintptr_t)y.data;
        uintptr_t const bytes = (uintptr_t)x.n << (x.dtype == GORSQRT_F32 ? 2 : 3);
        if (same && (from == to || from + bytes <= to || to + bytes <= from) && run_plain(x.dtype, x.n, y.data, x.data) == 0) {
            result = Py_NewRef(out);
        }
        plain_release(&y);
    }
    plain_release(&x);
    return result;
}

/* Everything else: Go decides. */

/* Set in a child of fork: Go's runtime has lost its threads there and must not be entered. */
static volatile sig_atomic_t forked;

static void after_fork_in_child(void) {
    forked = 1;
}

/* In such a child the express lane serves, and nothing else: its result, or the reason why there is none. */
static PyObject *in_forked_child(PyObject *express_result) {
    if (express_result == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "gorsqrt: this call is not possible in a forked child process, where Go's runtime does not survive; "
                        "contiguous arrays of one dtype are, or start processes with the spawn or forkserver method");
    }
    return express_result;
}

/* Raises what Go refused with. In place the destination is the input. */
static void raise_refusal(const char *function, bool in_place, gorsqrt_refusal *refusal) {
    PyObject *const exceptions[] = {PyExc_RuntimeError, PyExc_TypeError, PyExc_ValueError};
    PyObject *const exception = exceptions[refusal->kind];
    if (refusal->operand == 0) {
        PyErr_SetString(exception, refusal->text);
    } else {
        PyErr_Format(exception, "%s(): argument '%s' %s", function, refusal->operand == 2 && !in_place ? "out" : "input",
                     refusal->text);
    }
    free(refusal->text);
}

static PyObject *decide_fresh(const char *function, PyObject *input, container in) {
    operand x;
    PyObject *result = NULL;
    if (operand_take(&x, input, in) == 0) {
        gorsqrt_plan plan;
        int64_t strides[GORSQRT_MAX_NDIM];
        int32_t dtype;
        gorsqrt_refusal refusal;
        void *data = NULL;
        if (gorsqrtDecideFresh(&plan, strides, &dtype, &x.array, &refusal)) {
            raise_refusal(function, false, &refusal);
        } else {
            result = result_new(&x, dtype, strides, &data);
        }
        if (result && run(&plan, data, x.array.data) < 0) Py_CLEAR(result);
        if (result) result = result_finish(&x, result);
    }
    operand_release(&x);
    return result;
}

static PyObject *decide_out(const char *function, PyObject *input, container in, PyObject *out, container to) {
    operand x, y;
    PyObject *result = NULL;
    y.view.obj = y.owned = NULL;
    if (operand_take(&x, input, in) == 0 && operand_take(&y, out, to) == 0) {
        gorsqrt_plan plan;
        gorsqrt_refusal refusal;
        if (gorsqrtDecideInto(&plan, &y.array, &x.array, &refusal)) {
            raise_refusal(function, out == input, &refusal);
        } else if (run(&plan, y.array.data, x.array.data) == 0) {
            result = Py_NewRef(out);
        }
    }
    operand_release(&y);
    operand_release(&x);
    return result;
}

/* Arguments: torch's order of judgement and torch's texts. */

static bool is_name(PyObject *keyword, PyObject *name, const char *text) {
    return keyword == name || PyUnicode_CompareWithASCIIString(keyword, text) == 0;
}

static void not_an_array(const char *function, const char *argument, const char *position, PyObject *object) {
    PyObject *type = (PyObject *)Py_TYPE(object);
    PyObject *module = PyObject_GetAttrString(type, "__module__");
    PyObject *name = PyObject_GetAttrString(type, "__qualname__");
    if (module && name) {
        PyObject *full = PyUnicode_Check(module) && PyUnicode_CompareWithASCIIString(module, "builtins") == 0
                             ? Py_NewRef(name)
                             : PyUnicode_FromFormat("%S.%S", module, name);
        if (full) {
            PyErr_Format(PyExc_TypeError, "%s(): argument '%s'%s must be an array (buffer protocol), not %U", function,
                         argument, position, full);
        }
        Py_XDECREF(full);
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
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
    if ((a->in = recognise(a->input)) == NOT_AN_ARRAY) {
        not_an_array(function, "input", nargs == 1 ? " (position 1)" : "", a->input);
        return -1;
    }
    if (a->out && (a->to = recognise(a->out)) == NOT_AN_ARRAY) {
        not_an_array(function, "out", "", a->out);
        return -1;
    }
    if (unexpected) {
        PyErr_Format(PyExc_TypeError,
                     twice ? "%s() got multiple values for argument '%U'" : "%s() got an unexpected keyword argument '%U'",
                     function, unexpected);
        return -1;
    }
    return 0;
}

static PyObject *rsqrt(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    (void)module;
    PyObject *result = NULL;
    if (nargs == 1 && kwnames == NULL) {
        result = express_fresh(args[0]);
    } else if (nargs == 1 && PyTuple_Size(kwnames) == 1 && PyTuple_GetItem(kwnames, 0) == name_out) {
        result = express_out(args[0], args[1]);
    }
    if (result || PyErr_Occurred()) return result;

    arguments a;
    if (read_arguments(&a, "rsqrt", true, args, nargs, kwnames) < 0) return NULL;
    if (forked) return in_forked_child(a.out ? express_out(a.input, a.out) : express_fresh(a.input));
    return a.out ? decide_out("rsqrt", a.input, a.in, a.out, a.to) : decide_fresh("rsqrt", a.input, a.in);
}

static PyObject *rsqrt_inplace(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    (void)module;
    if (nargs == 1 && kwnames == NULL) {
        PyObject *result = express_in_place(args[0]);
        if (result || PyErr_Occurred()) return result;
    }
    arguments a;
    if (read_arguments(&a, "rsqrt_", false, args, nargs, kwnames) < 0) return NULL;
    if (forked) return in_forked_child(express_in_place(a.input));
    return decide_out("rsqrt_", a.input, a.in, a.input, a.in);
}

/* Install. */

/* Go's runtime takes SIGPIPE when this library is loaded; Python's setting is noted before (priorities below 65536 run ahead
 * of Go's own constructor) and given back at install. */
static struct sigaction sigpipe_before;

__attribute__((constructor(101))) static void note_sigpipe(void) {
    sigaction(SIGPIPE, NULL, &sigpipe_before);
}

static void once_per_process(void) {
    sigaction(SIGPIPE, &sigpipe_before, NULL);
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

int call_install(const char *module_name, const char *rsqrt_doc, const char *rsqrt_inplace_doc) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, once_per_process);
    name_input = PyUnicode_InternFromString("input");
    name_out = PyUnicode_InternFromString("out");
    /* Static: the functions refer to it for as long as the process lives. */
    static PyMethodDef methods[] = {
        {"rsqrt", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"rsqrt_", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {NULL, NULL, 0, NULL},
    };
    methods[0].ml_meth = (PyCFunction)(void (*)(void))rsqrt;
    methods[0].ml_doc = rsqrt_doc;
    methods[1].ml_meth = (PyCFunction)(void (*)(void))rsqrt_inplace;
    methods[1].ml_doc = rsqrt_inplace_doc;
    PyObject *module = PyImport_AddModule(module_name);
    if (name_input == NULL || name_out == NULL || module == NULL || result_install() < 0) return -1;
    return PyModule_AddFunctions(module, methods);
}
