/* An argument of a call: its container, its memory, and all that is held for it until the call
 * ends. */
#ifndef GORSQRT_OPERAND_H
#define GORSQRT_OPERAND_H

#include "go.h"

/* The kinds of containers. container.c has a row for each, but for the first two. */
typedef enum {
    NOT_AN_ARRAY,
    OVERRIDES_UFUNC, /* numpy's, of a class with an __array_ufunc__ of its own: only that knows what its values mean */
    NUMPY_ARRAY,
    NUMPY_SCALAR,
    ARRAY_ARRAY,
    BUFFER,
    ARRAY_INTERFACE,
    CUDA_ARRAY, /* __cuda_array_interface__ */
    CUPY_ARRAY,
    DEVICE_MEMORY, /* a result of ours on a CUDA device */
    TORCH_TENSOR,
    DLPACK,
    ARRAY_API, /* DLPack, and a namespace that makes such arrays */
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
    /* DLPack's tensor, and whose it is; `give_back` is NULL if there is none. */
    void *managed;
    bool versioned; /* which of DLPack's two structs `managed` is */
    void (*give_back)(operand *o);
    int64_t shape[GORSQRT_MAX_NDIM], strides[GORSQRT_MAX_NDIM]; /* for exporters that have none in memory */
};

/* An operand of which nothing is known yet. It must be released, whatever happens next. */
void operand_begin(operand *o, PyObject *object, container container);
void operand_release(operand *o);

/* The dtype of a buffer's format, in the syntax of Python's struct module, and item size;
 * GORSQRT_DTYPES if it is none of ours. */
int32_t format_dtype(const char *format, int64_t item_size);

/* The dtype of one of numpy's kinds ("biufc") and an item size; GORSQRT_DTYPES if it is none of
 * ours. */
int32_t kind_dtype(char kind, int64_t item_size);

/* The functions that fill in an operand answer 0, or -1 with an exception set. */

/* Names an element type that has no kernel: str(type). An exception may have been set before. */
int operand_name_type(operand *o, PyObject *type);

/* Copies shape and strides, for an object that may change its own while the other operand is
 * taken. */
void operand_copy_layout(operand *o, int ndim, const int64_t *shape, const int64_t *strides);

/* Reads a dict of numpy's array interface that is an attribute of this name. dtype is the items'
 * one, or GORSQRT_DTYPES if the dict names it. */
int operand_take_interface(operand *o, const char *name, int32_t dtype);

/* An item of that dict, borrowed; NULL if there is none, or with an exception set. */
PyObject *operand_interface_item(const operand *o, const char *key);

/* Strides for an operand that came without; false if they overflow. */
bool operand_c_order(operand *o, int64_t item_size);

/* How many bytes an array's items take, and how far they reach from the first one: `low` is at most
 * 0, `high` at least 0. */
typedef struct {
    int64_t bytes, low, high;
} extent;

/* Measures an array of a dtype of ours by the shape and strides that somebody else's object gave:
 * what is wrong with them, or NULL. The extent of an array without items is 0. */
const char *operand_measure(const gorsqrt_array *a, extent *e);

/* Sets the address of the first item, which somebody else's object gave: what is wrong with it, or
 * NULL. The address is NULL or beyond the first page afterwards: Go ends a process that holds a
 * pointer into that page. */
const char *operand_place(gorsqrt_array *a, const extent *e, const void *data);

/* A fresh container, and its first element, which lives as long as the container does. Both are
 * NULL, with an exception set, if there is none. */
typedef struct {
    PyObject *object;
    void *data;
} fresh;

static inline fresh fresh_of(PyObject *object, void *data) {
    return (fresh){object, object ? data : NULL};
}

#endif
