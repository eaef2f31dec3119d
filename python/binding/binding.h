/* What the C of this package shares: the walk of a call is call.c → intake.c → Go (binding.go) → cgo/plan.c → result.c.
 * Built against CPython's limited API of 3.11, so that one library serves every later version. */
#ifndef GORSQRT_BINDING_H
#define GORSQRT_BINDING_H

#include <Python.h> /* first, as it asks */

#include <stdlib.h>

#include "../../cgo/plan.h"

/* An argument as Go sees it. Everything points into the argument or into its operand and holds while that does. */
typedef struct {
    void *data;
    const int64_t *shape, *strides; /* ndim entries each; strides in bytes */
    const char *type;               /* the element type as the container names it, where dtype is GORSQRT_DTYPES */
    int32_t dtype, ndim;
    int32_t read_only;
} gorsqrt_array;

/* Why Go refused a call: rsqrt.Error. */
typedef struct {
    int32_t kind;    /* 0 RuntimeError, 1 TypeError, 2 ValueError */
    int32_t operand; /* 0 neither, 1 the input, 2 the destination */
    char *text;      /* the receiver's to free */
} gorsqrt_refusal;

/* Intake.c: objects to arrays. */

typedef enum { NOT_AN_ARRAY, NUMPY_ARRAY, NUMPY_SCALAR, ARRAY_ARRAY, BUFFER } container;

/* An argument of a call and what is held for it. `object` is borrowed from the caller, who keeps it alive. */
typedef struct {
    PyObject *object;
    container container;
    gorsqrt_array array;
    Py_buffer view;  /* held until operand_release where view.obj is set: the exporter can't move its memory meanwhile */
    PyObject *owned; /* keeps array.type alive; may be NULL */
    int64_t strides[GORSQRT_MAX_NDIM]; /* for exporters that give none: C order */
} operand;

/* Which container an object is, without an effect on it. */
container recognise(PyObject *object);

/* array.array, once somebody else has imported its module; never released. */
extern PyTypeObject *array_array_type;

/* Fills in an operand. 0, or -1 with an exception set; the operand must be released in either case. */
int operand_take(operand *o, PyObject *object, container container);
void operand_release(operand *o);

/* An array that needs no decision: contiguous in C order, of a dtype that has a kernel, in native byte order. */
typedef struct {
    void *data;
    const int64_t *shape;
    int64_t n;
    int32_t dtype, ndim;
    bool read_only;
    PyObject *descr; /* numpy's, borrowed; NULL for array.array */
    Py_buffer view;  /* held until plain_release where view.obj is set */
} plain;

/* Whether the object is one of the containers that the express lane knows, and plain. Sets no exception. If true,
 * plain_release must follow. */
bool plain_take(plain *p, PyObject *object);
void plain_release(plain *p);

/* Result.c: fresh containers. */

/* A fresh container like input's with uninitialised memory of this layout (bytes); *data is its first element and lives as
 * long as the object. NULL with an exception set. */
PyObject *result_new(const operand *input, int32_t dtype, const int64_t *strides, void **data);

/* What the caller gets for it, once computed: a numpy scalar for a scalar. Takes the reference over. */
PyObject *result_finish(const operand *input, PyObject *result);

/* The same for a plain input, always in C order. */
PyObject *result_like_plain(const plain *input, void **data);

int result_install(void);

/* Numpy.c: numpy's C API, found when somebody else has imported numpy. */

/* The start of every ndarray and dtype, the same since numpy 1.7; from numpy's ndarraytypes.h. */
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
    PyTypeObject *array_type, *generic_type; /* NULL until numpy is found */
    PyObject *descr[GORSQRT_DTYPES];
    PyObject *(*new_from_descr)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int,
                                PyObject *);
    PyObject *(*scalar)(void *, PyObject *, PyObject *);
} numpy_api;

extern numpy_api numpy;

/* Whether numpy is there; looks for it if it was not. Sets no exception. */
bool numpy_find(void);

/* The dtype of a numpy descriptor; GORSQRT_DTYPES where it has no kernel. */
int32_t numpy_dtype(PyObject *descr);

/* Call.c. */

/* The kernels by dtype that the express lane uses: Go fills this in at install and whenever the tier changes. */
extern gorsqrt_kernel *express[GORSQRT_DTYPES];

/* Adds rsqrt and rsqrt_ to the module of this name. 0, or -1 with an exception set. */
int call_install(const char *module, const char *rsqrt_doc, const char *rsqrt_inplace_doc);

#endif
