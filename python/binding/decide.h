/* Calls that Go decides, after their arguments have been recognised. Both functions answer NULL
 * with an exception set if they fail. */
#ifndef GORSQRT_DECIDE_H
#define GORSQRT_DECIDE_H

#include "operand.h"

/* The caller: a user, or a kernel of gorsqrt.torch's ops. torch's dispatcher has already handled a
 * kernel's tensors. So for a kernel no write to a tensor is counted, and a tensor of another shape
 * is no error. */
typedef enum { FOR_USER, FOR_KERNEL } caller;

PyObject *decided_fresh(PyObject *input, container in);

/* Writes 1/√input to `out`, and answers `out`. In place `out` is the input, and errors name
 * 'input'. For a kernel the answer is None if `out` is a tensor of another shape and nothing else
 * is wrong. */
PyObject *decided_into(const char *function, bool in_place, caller who, PyObject *input, container in, PyObject *out,
                       container to);

#endif
