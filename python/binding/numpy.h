/* numpy's arrays and scalars, by numpy's C API, which is looked up once the program has imported
 * numpy. */
#ifndef GORSQRT_NUMPY_H
#define GORSQRT_NUMPY_H

#include "operand.h"

/* The first fields of every ndarray and dtype, unchanged since numpy 1.7; from numpy's
 * ndarraytypes.h. */
typedef struct {
    PyObject_HEAD char *data;
    int nd;
    Py_ssize_t *dimensions, *strides;
    PyObject *base;
    PyObject *descr;
    int flags;
} numpy_array;

typedef struct {
    PyObject_HEAD PyTypeObject *typeobj;
    char kind, type, byteorder, flags;
    int type_num;
} numpy_descr;

enum { NUMPY_C_CONTIGUOUS = 0x1, NUMPY_WRITEABLE = 0x400 };

typedef struct {
    PyTypeObject *array_type, *generic_type, *descr_type; /* NULL until numpy is found */
    PyObject *descr[GORSQRT_COMPUTED];                    /* see numpy_descr_for */
    PyObject *(*new_from_descr)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int,
                                PyObject *);
    PyObject *(*scalar)(void *, PyObject *, PyObject *);
    PyObject *(*from_scalar)(PyObject *, PyObject *);
    PyObject *(*set_handler)(PyObject *); /* NULL before numpy 1.22 */
    PyObject *pooled;                     /* numpy's handler for memory from the pool */
} numpy_api;

extern numpy_api numpy;

/* Whether numpy has been imported; looks again if it was not. 1 or 0; -1 with an exception set. */
int numpy_find(void);

/* Which of numpy's containers an object of this type is; NOT_AN_ARRAY if it is none, or with an
 * exception set. */
container numpy_recognise(PyTypeObject *type);

/* Raises a TypeError: the argument's class overrides __array_ufunc__. */
void numpy_refuse(const char *function, const char *argument, PyObject *object);

int numpy_take_array(operand *o, bool written);
int numpy_take_scalar(operand *o, bool written);

/* Fresh arrays: of the input's class, or for a scalar a 0-d array. numpy_scalar makes a scalar of
 * that array and takes over its reference. */
fresh numpy_fresh_like(const operand *like, int32_t dtype, const int64_t *strides);
fresh numpy_fresh_scalar(const operand *like, int32_t dtype, const int64_t *strides);
PyObject *numpy_scalar(const operand *input, PyObject *array);

/* `strides` may be NULL for C order. `like` is the instance for a subclass's __array_finalize__, or
 * NULL. */
fresh numpy_fresh(PyTypeObject *type, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides, PyObject *like);

/* Does the work of numpy's own functions after a write to `out`, an ndarray: a masked `out` gets
 * the mask of `input`. 0, or -1 with an exception set. */
int numpy_written(PyObject *out, PyObject *input);

/* The dtype of a numpy descriptor; GORSQRT_DTYPES if gorsqrt has no such dtype, also with an
 * exception set. */
int32_t numpy_dtype(PyObject *descr);

/* The dtype of one of numpy's own type numbers, NPY_BOOL to NPY_HALF. */
int32_t numpy_number_dtype(int number);

/* The same for an attribute `dtype`, which may be of any class. */
int32_t numpy_dtype_of(PyObject *dtype);

/* numpy's descriptor of a computed dtype, borrowed; NULL with an exception set if numpy has none
 * (bfloat16 without ml_dtypes). */
PyObject *numpy_descr_for(int32_t dtype);

#endif
