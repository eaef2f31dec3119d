/* Calls with a tensor, and the kernels of gorsqrt.torch's ops. Needs torch_door.c, torch.c and
 * decide.c.
 *
 * - An ordinary contiguous tensor on the CPU is computed here at once.
 * - A tensor with a gradient to record, of a subclass, or conjugated uses torch for that one
 *   feature.
 * - All other tensors go to decide.c or to the package gorsqrt/torch.
 *
 * `Ordinary` is defined in torch_door.c. */
#include "torch_calls.h"

#include "container.h"
#include "decide.h"
#include "layout.h"
#include "numpy.h"
#include "run.h"
#include "torch.h"
#include "torch_door.h"

#include <stdlib.h>
#include <string.h>

/* Computes an ordinary tensor that t describes. NULL if the call needs a decision, or with an
 * exception set. */
static PyObject *call_ordinary(bool in_place, PyObject *input, const torch_look *t) {
    if (t->on_cuda || t->dtype >= GORSQRT_COMPUTED || t->ndim > GORSQRT_MAX_NDIM || !torch_is_contiguous(t)) return NULL;
    if (in_place) {
        PyObject *const result = run_plain(t->dtype, t->n, t->data, t->data) == 0 ? Py_NewRef(input) : NULL;
        torch_count_write(input);
        return result;
    }
    int64_t strides[GORSQRT_MAX_NDIM];
    layout_c_order((int)t->ndim, t->shape, 1, strides);
    fresh y = torch_fresh(t->dtype, (int)t->ndim, t->shape, strides);
    if (y.object && run_plain(t->dtype, t->n, y.data, t->data) < 0) Py_CLEAR(y.object);
    return y.object;
}

/* Tensors that are ordinary except in one respect: a gradient to record, a subclass, a conjugate.
 * Each function answers NULL if it does not handle the tensor, and NULL with an exception set if it
 * fails. */

/* Up to this many items torch computes and records faster than Python can record: of 16-bit dtypes,
 * and of complex numbers. */
enum { FEW = 8192, FEW_COMPLEX = 256 };

/* Whether the object is a strided tensor on the CPU like t, in memory of its own; if so, y
 * describes it. */
static bool is_like(torch_look *y, PyObject *object, const torch_look *t) {
    if (!PyType_IsSubtype(Py_TYPE(object), torch_tensor) || !torch_is_strided(object) ||
        !torch_look_at(y, torch_handle_of(object), true))
        return false;
    bool like = y->dtype == t->dtype && y->ndim == t->ndim && y->n == t->n && (y->data != t->data || t->n == 0);
    for (int64_t d = 0; like && d < t->ndim; d++) like = y->shape[d] == t->shape[d];
    return like;
}

/* Writes the result of input, which t describes, into object's memory without torch's notice. */
static int write_over(PyObject *object, PyObject *input, const torch_look *t) {
    torch_look y;
    if (!is_like(&y, object, t)) {
        PyErr_SetString(PyExc_RuntimeError, "rsqrt(): torch.rsqrt answers with a tensor of another kind");
        return -1;
    }
    if (torch_is_contiguous(t) && torch_is_contiguous(&y)) return run_plain(t->dtype, t->n, y.data, t->data);
    PyObject *same = decided_into("rsqrt", false, FOR_KERNEL, input, TORCH_TENSOR, object, TORCH_TENSOR);
    Py_XDECREF(same);
    return same ? 0 : -1;
}

/* In place: our result stays in separate memory until torch has recorded and written its own. */
static PyObject *record_in_place(PyObject *input, const torch_look *t) {
    if (!torch_is_contiguous(t)) return NULL;
    size_t const bytes = (size_t)(t->n * gorsqrt_item_size[t->dtype]);
    void *const ours = malloc(bytes ? bytes : 1);
    if (ours == NULL) return PyErr_NoMemory();
    PyObject *result = NULL;
    if (run_plain(t->dtype, t->n, ours, t->data) == 0) result = PyObject_CallFunctionObjArgs(torch.rsqrt[1], input, NULL);
    torch_look y;
    if (result && torch_look_at(&y, torch_handle_of(input), true) && y.dtype == t->dtype && y.n == t->n && y.n > 0)
        memcpy(y.data, ours, bytes);
    free(ours);
    return result;
}

/* A tensor with a gradient to record. torch's own function records it.
 *
 * float32 and float64: torch's result already has our bits. Few items of other dtypes: our result
 * replaces torch's before any other code sees it. The node that torch has recorded saves that
 * memory, so torch's own formulas compute the derivatives from our bits. Hooks on saved tensors
 * would see torch's bits; so with such hooks, and for more items, Python records. */
static PyObject *record(bool in_place, PyObject *input) {
    torch_look t;
    if (!torch_look_at(&t, torch_handle_of(input), false) || t.dtype >= GORSQRT_COMPUTED) return NULL;
    if (t.dtype == GORSQRT_F32 || t.dtype == GORSQRT_F64)
        return PyObject_CallFunctionObjArgs(torch.rsqrt[in_place], input, NULL);
    bool const is_complex = t.dtype == GORSQRT_C64 || t.dtype == GORSQRT_C128;
    if (t.n > (is_complex ? FEW_COMPLEX : FEW)) return NULL;
    if (torch.saved_hooks == Py_None) return NULL;
    PyObject *hooks = PyObject_CallFunctionObjArgs(torch.saved_hooks, Py_False, NULL);
    Py_XDECREF(hooks);
    if (hooks != Py_None) return NULL;
    if (in_place) return record_in_place(input, &t);
    PyObject *result = PyObject_CallFunctionObjArgs(torch.rsqrt[0], input, NULL);
    if (result && write_over(result, input, &t) < 0) Py_CLEAR(result);
    return result;
}

/* The class that torch's own __torch_function__ gives to results for tensors of a subclass,
 * borrowed. NULL if the subclass has its own __torch_function__, or with an exception set. */
static PyObject *class_of_results(PyTypeObject *type) {
    PyObject *function = PyObject_GetAttrString((PyObject *)type, "__torch_function__");
    if (function == NULL) return NULL;
    PyObject *result = NULL;
    if (function == torch.no_function) {
        result = (PyObject *)torch_tensor;
    } else {
        PyObject *unbound = PyObject_GetAttrString(function, "__func__");
        if (unbound == torch.function) result = (PyObject *)type;
        if (unbound == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
        Py_XDECREF(unbound);
    }
    Py_DECREF(function);
    return result;
}

static PyObject *call_subclass(bool in_place, PyObject *input, bool on_cuda) {
    PyObject *const class = class_of_results(Py_TYPE(input));
    if (class == NULL) return NULL;
    if (torch_is_recorded(input)) return on_cuda ? NULL : record(in_place, input);
    torch_look t;
    if (!torch_look_at(&t, torch_handle_of(input), in_place) || t.dtype == GORSQRT_DTYPES) return NULL;
    if (in_place) return decided_into("rsqrt_", true, FOR_USER, input, TORCH_TENSOR, input, TORCH_TENSOR);
    PyObject *const plain = decided_fresh(input, TORCH_TENSOR);
    if (plain == NULL || class == (PyObject *)torch_tensor) return plain;
    PyObject *const result = PyObject_CallMethod(plain, "as_subclass", "O", class);
    Py_DECREF(plain);
    return result;
}

static PyObject *call_conjugate(PyObject *input) {
    PyObject *resolved = PyObject_CallMethod(input, "resolve_conj", NULL); /* a copy */
    if (resolved == NULL) return NULL;
    PyObject *result;
    if (torch_is_recorded(resolved)) {
        result = record(false, resolved);
        if (result == NULL && !PyErr_Occurred()) result = torch_call(false, resolved, NULL);
    } else {
        result = decided_into("rsqrt", true, FOR_KERNEL, resolved, TORCH_TENSOR, resolved, TORCH_TENSOR);
    }
    Py_DECREF(resolved);
    return result;
}

/* The answer if it needs neither a decision nor gorsqrt/torch. NULL without an exception if it
 * does. */
WITHOUT_CANARY static PyObject *call_in_state(torch_state state, bool in_place, PyObject *input, torch_look *t) {
    switch (state) {
        case TORCH_ORDINARY: return torch_is_readable(input, in_place, t) ? call_ordinary(in_place, input, t) : NULL;
        case TORCH_RECORDED: return t->on_cuda ? NULL : record(in_place, input);
        case TORCH_SUBCLASS: return call_subclass(in_place, input, t->on_cuda);
        case TORCH_CONJUGATE: return call_conjugate(input);
        default: return NULL;
    }
}

WITHOUT_CANARY PyObject *torch_answer(bool in_place, PyObject *input) {
    torch_look t;
    torch_state const state = torch_state_of(input, in_place, &t.on_cuda);
    PyObject *const result = PyErr_Occurred() ? NULL : call_in_state(state, in_place, input, &t);
    if (result || PyErr_Occurred()) return result;
    if (!Py_IS_TYPE(input, torch_tensor) && !Py_IS_TYPE(input, torch_parameter)) return NULL; /* it may be another container */
    if (state != TORCH_ORDINARY || !torch_is_readable(input, in_place, &t)) return torch_call(in_place, input, NULL);
    return in_place ? decided_into("rsqrt_", true, FOR_USER, input, TORCH_TENSOR, input, TORCH_TENSOR)
                    : decided_fresh(input, TORCH_TENSOR);
}

/* For the package gorsqrt/torch. */

static PyObject *directly_py(PyObject *module, PyObject *input) {
    (void)module;
    torch_look t;
    torch_state const state = torch_state_of(input, false, &t.on_cuda);
    PyObject *const result = PyErr_Occurred() ? NULL : call_in_state(state, false, input, &t);
    return result || PyErr_Occurred() ? result : Py_NewRef(Py_None);
}

/* The container of a kernel's argument; a kernel may be the first code that looks for torch.
 * NOT_AN_ARRAY with an exception set. */
static container recognise_for_kernel(PyObject *object) {
    container const found = recognise(object);
    if (found == OVERRIDES_UFUNC) {
        numpy_refuse("rsqrt", "input", object);
        return NOT_AN_ARRAY;
    }
    if (found == NOT_AN_ARRAY && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "gorsqrt: a kernel was given no array");
    return found;
}

static PyObject *fresh_py(PyObject *module, PyObject *input) {
    (void)module;
    container const in = recognise_for_kernel(input);
    return in == NOT_AN_ARRAY ? NULL : decided_fresh(input, in);
}

static PyObject *into_py(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *out, *input;
    if (!PyArg_ParseTuple(args, "OO", &out, &input)) return NULL;
    container const to = recognise_for_kernel(out);
    container const in = to == NOT_AN_ARRAY ? to : recognise_for_kernel(input);
    return in == NOT_AN_ARRAY ? NULL : decided_into("rsqrt", out == input, FOR_KERNEL, input, in, out, to);
}

int torch_calls_install(PyObject *module) {
    /* Static: the functions refer to it until the process ends. */
    static PyMethodDef methods[] = {
        {"torch_directly", directly_py, METH_O,
         "rsqrt of a tensor that needs no torch but for its gradient, its class or its conjugate; else None."},
        {"torch_fresh", fresh_py, METH_O, "1/sqrt(input) of a strided tensor, as if torch recorded nothing."},
        {"torch_into", into_py, METH_VARARGS,
         "(out, input): 1/sqrt(input) written to out, likewise; one may be no tensor. None: resize out first."},
        {NULL, NULL, 0, NULL},
    };
    return PyModule_AddFunctions(module, methods);
}
