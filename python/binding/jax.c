/* jax's arrays and tracers. jax computes both itself, eagerly and under its transformations, by
 * calling a function in this file that XLA knows as "gorsqrt". Needs gorsqrt/jax.py, which
 * registers it. XLA allocates the result; nothing here owns jax's memory. */
#include "jax.h"
#include "numpy.h"

#include <stdatomic.h>
#include <stdlib.h>

/* The structs that XLA passes to a foreign function, from the public header of its interface,
 * xla/ffi/api/c_api.h, version 0.x. Only the fields that are read here are declared. A struct
 * begins with its size, and newer versions add fields at its end. */

typedef struct xla_extension {
    size_t struct_size;
    int32_t type; /* XLA_METADATA */
    struct xla_extension *next;
} xla_extension;

enum { XLA_METADATA = 1, XLA_INVALID_ARGUMENT = 3, XLA_INTERNAL = 13, XLA_MAJOR = 0 };

/* The minor version that this file claims to be built for. XLA accepts only its own minor version,
 * although the fields that are read here are the same from 0.1 to 0.3. */
static int xla_minor;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    int major, minor;
} xla_version;

typedef struct {
    xla_extension base;
    struct {
        size_t struct_size;
        xla_version version;
        uint32_t traits;
    } *metadata;
} xla_metadata_extension;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    const char *message;
    int32_t code;
} xla_error;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    void *context, *stream; /* `context` is the question; `stream` is the answer, a CUstream */
} xla_stream;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    xla_version version;
    const void *internal;
    void *(*create_error)(xla_error *);
    const void *get_message, *destroy_error, *register_handler;
    void *(*get_stream)(xla_stream *);
} xla_api;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    int32_t dtype;
    void *data; /* items in C order */
    int64_t rank, *lengths;
} xla_buffer;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    int64_t count;
    int32_t *types;
    xla_buffer **buffers;
} xla_buffers;

typedef struct {
    size_t struct_size;
    xla_extension *extensions;
    const xla_api *api;
    void *context;
    int32_t stage;
    xla_buffers arguments, results;
} xla_call;

/* XLA's numbers of the dtypes. */
static int32_t xla_dtype(int32_t number) {
    switch (number) {
        case 10: return GORSQRT_F16;
        case 11: return GORSQRT_F32;
        case 12: return GORSQRT_F64;
        case 15: return GORSQRT_C64;
        case 16: return GORSQRT_BF16;
        case 18: return GORSQRT_C128;
        default: return GORSQRT_DTYPES;
    }
}

/* Whether XLA asks only for the version that this was built for; if so, answers. */
static bool is_question(const xla_call *call) {
    if (call->extensions == NULL || call->extensions->type != XLA_METADATA) return false;
    xla_version *const built = &((xla_metadata_extension *)call->extensions)->metadata->version;
    built->major = XLA_MAJOR;
    built->minor = xla_minor;
    return true;
}

static void *error_of(const xla_call *call, int32_t code, const char *message) {
    xla_error error = {.struct_size = sizeof error, .message = message, .code = code};
    return call->api->create_error(&error);
}

/* The two buffers of a call and the number of items in each; NULL, or XLA's error. */
static void *read_call(const xla_call *call, const xla_buffer **x, const xla_buffer **y, size_t *n) {
    *x = call->arguments.count == 1 ? call->arguments.buffers[0] : NULL;
    *y = call->results.count == 1 ? call->results.buffers[0] : NULL;
    bool same = *x && *y && (*x)->dtype == (*y)->dtype && (*x)->rank == (*y)->rank && xla_dtype((*x)->dtype) != GORSQRT_DTYPES;
    *n = 1;
    for (int64_t d = 0; same && d < (*x)->rank; d++) {
        same = (*x)->lengths[d] == (*y)->lengths[d];
        *n *= (size_t)(*x)->lengths[d];
    }
    if (same) return NULL;
    return error_of(call, XLA_INVALID_ARGUMENT,
                    "gorsqrt takes one array and gives one of the same shape and floating-point dtype");
}

/* result = 1/√argument; the two buffers have one dtype and shape, and are disjoint or the same. XLA
 * calls it in its own threads, without Python, so it calls only kernels. Kernels set the
 * floating-point mode that they need, because XLA flushes subnormals. */
static void *xla_rsqrt(xla_call *call) {
    if (is_question(call)) return NULL;
    const xla_buffer *x, *y;
    size_t n;
    void *const error = read_call(call, &x, &y, &n);
    if (error == NULL && n > 0) go_now->express[xla_dtype(x->dtype)](y->data, x->data, n);
    return error;
}

/* The same for buffers on a CUDA device, enqueued on XLA's stream. It need not handle fork: a
 * forked child has none of XLA's threads. */
static void *xla_rsqrt_cuda(xla_call *call) {
    if (is_question(call)) return NULL;
    const xla_buffer *x, *y;
    size_t n;
    void *error = read_call(call, &x, &y, &n);
    if (error || n == 0) return error;
    xla_stream where = {.struct_size = sizeof where, .context = call->context};
    error = call->api->get_stream(&where);
    if (error) return error;
    int32_t const dtype = xla_dtype(x->dtype);
    int64_t const shape = (int64_t)n, stride = gorsqrt_item_size[dtype];
    gorsqrt_array src = {
        .data = x->data, /* XLA owns both buffers and keeps them until its stream has passed this work */
        .shape = &shape,
        .strides = &stride,
        .dtype = dtype,
        .ndim = 1,
        .device = CUDA,
        .is_open = 1,
        .index = -1,
        .stream = where.stream ? (uintptr_t)where.stream : LEGACY_STREAM,
        .default_dtype = -1,
    };
    gorsqrt_array dst = src;
    dst.data = y->data;
    static atomic_uint calls;
    if (atomic_fetch_add(&calls, 1) % COLLECT_EVERY == COLLECT_EVERY - 1) go_now->collect();
    gorsqrt_plan plan;
    gorsqrt_refusal refusal;
    if (go_now->decide_into(&plan, &dst, &src, &refusal) || go_now->launch(&plan, &dst, &src, NULL, &refusal)) {
        error = error_of(call, XLA_INTERNAL, refusal.text ? refusal.text : "gorsqrt: out of memory");
        free(refusal.text);
    }
    return error;
}

/* xla_targets(minor): the two functions that jax registers with an XLA of this minor version, for
 * the CPU and for CUDA. */
static PyObject *xla_targets(PyObject *module, PyObject *minor) {
    (void)module;
    static const char name[] = "xla._CUSTOM_CALL_TARGET";
    xla_minor = (int)PyLong_AsLong(minor);
    if (PyErr_Occurred()) return NULL;
    return Py_BuildValue("NN", PyCapsule_New((void *)xla_rsqrt, name, NULL), PyCapsule_New((void *)xla_rsqrt_cuda, name, NULL));
}

int jax_install(PyObject *module) {
    /* Static: the function refers to it until the process ends. */
    static PyMethodDef methods[] = {{"xla_targets", xla_targets, METH_O, NULL}, {NULL, NULL, 0, NULL}};
    return PyModule_AddFunctions(module, methods);
}

/* The module gorsqrt.jax, imported at the first use: by then jax itself is loaded. */
static PyObject *adapter(void) {
    return PyImport_ImportModule("gorsqrt.jax");
}

int jax_take(operand *o, bool written) {
    (void)written;
    PyObject *module = adapter();
    PyObject *device = module ? PyObject_CallMethod(module, "device", "O", o->object) : NULL;
    Py_XDECREF(module);
    if (device == NULL) return -1;
    o->array.device = (int32_t)PyLong_AsLong(device);
    Py_DECREF(device);
    if (PyErr_Occurred()) return -1;
    if (o->array.device != CPU) return 0;
    o->array.data = NULL;
    o->array.read_only = 1;
    o->array.because = "jax arrays are immutable";
    /* The dtype is numpy's or ml_dtypes', or for random keys jax's own. */
    PyObject *dtype = PyObject_GetAttrString(o->object, "dtype");
    if (dtype == NULL) return -1;
    o->array.dtype = numpy_dtype_of(dtype);
    int const failed = o->array.dtype == GORSQRT_DTYPES ? operand_name_type(o, dtype) : 0;
    Py_DECREF(dtype);
    return failed;
}

PyObject *jax_compute(const operand *o, int32_t dtype) {
    PyObject *descr = numpy_descr_for(dtype);
    PyObject *module = descr ? adapter() : NULL;
    PyObject *result = module ? PyObject_CallMethod(module, "rsqrt", "OO", o->object, descr) : NULL;
    Py_XDECREF(module);
    return result;
}

int jax_needs_memory(const char *function, PyObject *array) {
    int const has_memory = has_attribute((PyObject *)Py_TYPE(array), "__dlpack_device__");
    if (has_memory < 0) return -1;
    if (!has_memory) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s(): argument 'input' is a jax array without memory, because jax is tracing it; call without out",
                     function);
        return -1;
    }
    PyObject *module = adapter();
    PyObject *device = module ? PyObject_CallMethod(module, "device", "O", array) : NULL; /* raises for a deleted array */
    Py_XDECREF(module);
    Py_XDECREF(device);
    return device ? 0 : -1;
}
