/* An argument of a call: its container, its memory, and all objects that are held for it until the
 * call ends. */
#ifndef GORSQRT_OPERAND_H
#define GORSQRT_OPERAND_H

#include "go.h"

/* The kinds of containers. container.c has a row for each kind but the first two. */
typedef enum {
    NOT_AN_ARRAY,
    OVERRIDES_UFUNC, /* a numpy array whose class has its own __array_ufunc__: only that knows the meaning of its values */
    NUMPY_ARRAY,
    NUMPY_SCALAR,
    ARRAY_ARRAY,
    BUFFER,
    ARRAY_INTERFACE,
    CUDA_ARRAY, /* __cuda_array_interface__ */
    CUPY_ARRAY,
    DEVICE_MEMORY, /* a result of gorsqrt on a CUDA device */
    TORCH_TENSOR,
    DLPACK,
    ARRAY_API, /* DLPack, and an array API namespace that makes such arrays */
    JAX_ARRAY,
    CONTAINERS
} container;

typedef struct operand operand;
struct operand {
    PyObject *object; /* borrowed from the caller, who keeps it alive */
    container container;
    gorsqrt_array array;
    Py_buffer view;  /* held until operand_release if view.obj is set: the exporter can't move its memory meanwhile */
    PyObject *owned; /* keeps array.type, a scalar's array or an interface's dict alive; may be NULL */
    /* DLPack's tensor, and the function that returns it to its producer; `give_back` is NULL if
     * there is no tensor. */
    void *managed;
    bool versioned; /* which of DLPack's two structs `managed` is */
    void (*give_back)(operand *o);
    int64_t shape[GORSQRT_MAX_NDIM], strides[GORSQRT_MAX_NDIM]; /* for exporters that keep none in memory */
};

/* Starts an operand of which only object and container are known. The caller must call
 * operand_release, whatever happens next. */
void operand_begin(operand *o, PyObject *object, container container);
void operand_release(operand *o);

/* The dtype for a buffer's format (in the syntax of Python's struct module) and item size;
 * GORSQRT_DTYPES if gorsqrt has no such dtype. */
int32_t format_dtype(const char *format, int64_t item_size);

/* The dtype for one of numpy's kinds ("biufc") and an item size; GORSQRT_DTYPES if gorsqrt has no
 * such dtype. */
int32_t kind_dtype(char kind, int64_t item_size);

/* The functions that fill in an operand answer 0, or -1 with an exception set. */

/* Names an element type that has no kernel, by str(type). An exception may have been set before. */
int operand_name_type(operand *o, PyObject *type);

/* Copies shape and strides of an object that may change them while the other operand is taken.
 * Taking may run any Python code. If ndim exceeds the limit nothing is copied: the call is refused
 * later, and shape and strides are never read. */
void operand_copy_layout(operand *o, int ndim, const int64_t *shape, const int64_t *strides);

/* Reads the array interface's dict from the object's attribute `name`. `dtype` is the items' dtype,
 * or GORSQRT_DTYPES if the dict names it. */
int operand_take_interface(operand *o, const char *name, int32_t dtype);

/* An item of that dict, borrowed; NULL if there is none, or with an exception set. */
PyObject *operand_interface_item(const operand *o, const char *key);

/* Sets C-order strides for an operand that came without strides; false if they overflow. */
bool operand_c_order(operand *o, int64_t item_size);

/* The bytes that an array's items take, and the bytes that they reach from the first one: `low` is
 * at most 0, `high` at least 0. */
typedef struct {
    int64_t bytes, low, high;
} extent;

/* Measures an array whose dtype is known, by the shape and strides that its object gave: the flaw
 * in them, or NULL. The extent of an array without items is 0. */
const char *operand_measure(const gorsqrt_array *a, extent *e);

/* Sets the address of the first item, as its object gave it: the flaw in it, or NULL. Afterwards
 * the address is NULL or beyond the first page, because Go ends a process that holds a pointer into
 * the first page. */
const char *operand_place(gorsqrt_array *a, const extent *e, const void *data);

/* A fresh container and the address of its first element, which is valid while the container lives.
 * Both are NULL, with an exception set, if there is no container. */
typedef struct {
    PyObject *object;
    void *data;
} fresh;

static inline fresh fresh_of(PyObject *object, void *data) {
    return (fresh){object, object ? data : NULL};
}

#endif
