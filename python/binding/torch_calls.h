/* Calls with a tensor that is not ordinary, and the kernels of gorsqrt.torch's ops. */
#ifndef GORSQRT_TORCH_CALLS_H
#define GORSQRT_TORCH_CALLS_H

#include "object.h"

/* The answer to a call with a tensor, which must be one of torch's class or of a subclass, and the
 * door must have found torch. NULL with an exception set; without one only for a subclass that is
 * to be recognised like any other object. */
PyObject *torch_answer(bool in_place, PyObject *input);

/* Adds the functions that gorsqrt/torch calls. */
int torch_calls_install(PyObject *module);

#endif
