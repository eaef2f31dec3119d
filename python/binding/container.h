/* The kinds of containers, and how to recognise the container of an object. */
#ifndef GORSQRT_CONTAINER_H
#define GORSQRT_CONTAINER_H

#include "operand.h"

/* A kind of container. To add a library, write one file of such functions and one row. */
typedef struct {
    /* Fills in an operand whose memory will be read, and also written if `written`. 0, or -1 with
     * an exception set. */
    int (*take)(operand *o, bool written);
    /* A fresh container like an operand, of uninitialised memory; strides in bytes. NULL: see
     * compute. */
    fresh (*fresh)(const operand *like, int32_t dtype, const int64_t *strides);
    /* The kind of that fresh container on a CUDA device. NOT_AN_ARRAY: this kind is never on
     * one. */
    container on_device;
    /* Has the library compute a fresh result. NULL: use take and fresh. */
    PyObject *(*compute)(const operand *x, int32_t dtype);
    /* Turns a fresh container into the object for the caller, and takes over the container's
     * reference. NULL: the caller gets the container. */
    PyObject *(*finish)(const operand *input, PyObject *result);
    /* Does the library's own work after a write to `out`. `out` may be only partly written if an
     * exception is set. 0, or -1 with an exception set. NULL: nothing to do. */
    int (*written)(PyObject *out, PyObject *input);
} kind;

extern const kind kinds[CONTAINERS];

/* The container of an object. The object is not changed. NOT_AN_ARRAY also with an exception
 * set. */
container recognise(PyObject *object);

/* Calls operand_begin, then the kind's take. */
int operand_take(operand *o, PyObject *object, container container, bool written);

#endif
