/* Which container an object is, and the table of what each kind does. */
#ifndef GORSQRT_CONTAINER_H
#define GORSQRT_CONTAINER_H

#include "operand.h"

/* A kind of container. A new library is one room of such functions and one row. */
typedef struct {
    /* Fills in an operand, for its memory to be written or only read. 0, or -1 with an exception
     * set. */
    int (*take)(operand *o, bool written);
    /* A fresh container like an operand, of uninitialised memory and this layout (bytes). NULL: see
     * compute. */
    fresh (*fresh)(const operand *like, int32_t dtype, const int64_t *strides);
    /* Which kind that is on a CUDA device; NOT_AN_ARRAY: the kind is never there. */
    container on_device;
    /* Computes a fresh result by the library itself. NULL: by take and fresh. */
    PyObject *(*compute)(const operand *x, int32_t dtype);
    /* The object that the caller gets for a fresh container, whose reference it takes over. NULL:
     * that container. */
    PyObject *(*finish)(const operand *input, PyObject *result);
    /* Does what the library does after `out` was written, in part only if an exception is set. 0,
     * or -1 with an exception set. NULL: nothing. */
    int (*written)(PyObject *out, PyObject *input);
} kind;

extern const kind kinds[CONTAINERS];

/* Which container an object is, without an effect on it. NOT_AN_ARRAY also with an exception
 * set. */
container recognise(PyObject *object);

/* operand_begin, and then the kind's take. */
int operand_take(operand *o, PyObject *object, container container, bool written);

#endif
