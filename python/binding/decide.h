/* Calls that Go decides, of arguments that have been recognised. Both functions answer NULL with an
 * exception set if they fail. */
#ifndef GORSQRT_DECIDE_H
#define GORSQRT_DECIDE_H

#include "operand.h"

/* Who calls: a user, or a kernel of gorsqrt.torch's ops, whose tensors torch's dispatcher has seen
 * to. For a kernel no write to a tensor is counted, and a tensor of another shape is no error. */
typedef enum { FOR_USER, FOR_KERNEL } caller;

PyObject *decided_fresh(PyObject *input, container in);

/* In place `out` is the input, and errors name that. The answer is `out`; for a kernel it is None
 * if `out` is a tensor of another shape and nothing else is wrong. */
PyObject *decided_into(const char *function, bool in_place, caller who, PyObject *input, container in, PyObject *out,
                       container to);

#endif
