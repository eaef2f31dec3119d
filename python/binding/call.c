/* The functions rsqrt and rsqrt_, as Python calls them. They check arguments in torch's order and
 * with torch's texts, and pass the call on:
 *
 * - to the express lane (express.c), which answers without a decision by Go;
 * - to torch_calls.c, for tensors;
 * - to decide.c, for everything else.
 *
 * A call whose arguments are refused writes nothing. */
#include "call.h"

#include "buffer.h"
#include "container.h"
#include "decide.h"
#include "express.h"
#include "jax.h"
#include "memory.h"
#include "numpy.h"
#include "pool.h"
#include "threads.h"
#include "torch.h"
#include "torch_calls.h"
#include "torch_door.h"
#include "torch_storage.h"
#include "ufunc.h"

/* "input" and "out", interned: keywords are compared by address first. */
static PyObject *name_input, *name_out;

/* Arguments. */

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

/* The container of an argument; NOT_AN_ARRAY with an exception set if the argument is refused. */
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
    PyObject *input, *out; /* out: NULL if there is none */
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

/* Whether torch or the package gorsqrt/torch must answer for an argument; true also with an
 * exception set. */
static bool is_torchs(PyObject *object, container container, bool written) {
    torch_look unused;
    return container == TORCH_TENSOR && !torch_is_ordinary(object, written, &unused);
}

/* Calls. */

/* The answer to a call without `out`, if one can be given before the argument is recognised. NULL
 * without an exception if not. */
static inline __attribute__((always_inline)) PyObject *answer(bool in_place, PyObject *input) {
    PyTypeObject *const type = Py_TYPE(input);
    if (type != torch_tensor && type != torch_parameter) {
        PyObject *const result = in_place ? express_in_place(input) : express_fresh(input);
        if (result || torch_tensor == NULL || express_knows(type) || PyErr_Occurred() || !PyType_IsSubtype(type, torch_tensor))
            return result;
    }
    return torch_answer(in_place, input);
}

WITHOUT_CANARY static PyObject *rsqrt_fresh(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    (void)module;
    PyObject *result = NULL;
    PyTypeObject *tried = NULL; /* the type of an input that the express lane has already examined */
    if (nargs == 1 && kwnames == NULL) {
        result = answer(false, args[0]);
        if (result) return result;
        if (express_knows(Py_TYPE(args[0]))) tried = Py_TYPE(args[0]);
    } else if (nargs == 1 && PyTuple_Size(kwnames) == 1 && PyTuple_GetItem(kwnames, 0) == name_out) {
        result = express_out(args[0], args[1]);
    }
    if (result || PyErr_Occurred()) return result;

    arguments a;
    if (read_arguments(&a, "rsqrt", true, args, nargs, kwnames) < 0) return NULL;
    /* read_arguments may have found numpy, torch or array.array only now: try again. */
    if (a.out) {
        result = express_out(a.input, a.out);
    } else if (Py_TYPE(a.input) != tried) {
        result = answer(false, a.input);
    }
    if (result || PyErr_Occurred()) return result;
    if (is_torchs(a.input, a.in, false) || (a.out && is_torchs(a.out, a.to, true)))
        return PyErr_Occurred() ? NULL : torch_call(false, a.input, a.out);
    return a.out ? decided_into("rsqrt", false, FOR_USER, a.input, a.in, a.out, a.to) : decided_fresh(a.input, a.in);
}

WITHOUT_CANARY static PyObject *rsqrt_inplace(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    (void)module;
    PyObject *result = NULL;
    PyTypeObject *tried = NULL;
    if (nargs == 1 && kwnames == NULL) {
        result = answer(true, args[0]);
        if (result) return result;
        if (express_knows(Py_TYPE(args[0]))) tried = Py_TYPE(args[0]);
    }
    if (result || PyErr_Occurred()) return result;

    arguments a;
    if (read_arguments(&a, "rsqrt_", false, args, nargs, kwnames) < 0) return NULL;
    if (Py_TYPE(a.input) != tried) result = answer(true, a.input);
    if (result || PyErr_Occurred()) return result;
    if (is_torchs(a.input, a.in, true)) return PyErr_Occurred() ? NULL : torch_call(true, a.input, NULL);
    return decided_into("rsqrt_", true, FOR_USER, a.input, a.in, a.input, a.in);
}

/* Install. */

int call_install(const char *module_name, const char *rsqrt_doc, const char *rsqrt_inplace_doc) {
    name_input = PyUnicode_InternFromString("input");
    name_out = PyUnicode_InternFromString("out");
    /* Static: the functions refer to it until the process ends. */
    static PyMethodDef methods[] = {
        {"rsqrt", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"rsqrt_", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"num_threads", threads_number, METH_NOARGS, "How many threads may work on one call."},
        {"threads_source", threads_source, METH_NOARGS, "Where that number comes from."},
        {"empty_cache", pool_empty, METH_NOARGS, "empty_cache($module)\n--\n\nGive kept memory back to the system."},
        {"cache_state", pool_state, METH_NOARGS, "What of large results' memory is kept: a dict."},
        {"ufunc", ufunc_new, METH_VARARGS, "rsqrt as a numpy.ufunc."},
        {NULL, NULL, 0, NULL},
    };
    methods[0].ml_meth = (PyCFunction)(void (*)(void))rsqrt_fresh;
    methods[0].ml_doc = rsqrt_doc;
    methods[1].ml_meth = (PyCFunction)(void (*)(void))rsqrt_inplace;
    methods[1].ml_doc = rsqrt_inplace_doc;
    PyObject *module = PyImport_AddModule(module_name);
    if (name_input == NULL || name_out == NULL || module == NULL || memory_install() < 0 || torch_door_install(module) < 0 ||
        torch_storage_install(module) < 0 || torch_calls_install(module) < 0 || jax_install(module) < 0)
        return -1;
    /* If gorsqrt is reloaded, the module keeps its functions, because other code knows them by
     * identity. */
    if (PyDict_GetItemString(PyModule_GetDict(module), "rsqrt")) return 0;
    return PyModule_AddFunctions(module, methods);
}
