/* Calls with a tensor that is not ordinary, and the kernels of gorsqrt.torch's ops. */
#ifndef GORSQRT_TORCH_CALLS_H
#define GORSQRT_TORCH_CALLS_H

#include "object.h"

/* The answer to a call with an object of torch's class or a subclass; the door must have found
 * torch. NULL with an exception set. NULL without one only for a subclass that must be recognised
 * like any other object. */
PyObject *torch_answer(bool in_place, PyObject *input);

/* Adds the functions that gorsqrt/torch calls. */
int torch_calls_install(PyObject *module);

#endif
