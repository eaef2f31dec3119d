/* rsqrt as a numpy.ufunc. */
#ifndef GORSQRT_UFUNC_H
#define GORSQRT_UFUNC_H

#include "object.h"

/* A function of the module. The arguments are the number of the dtype that the ufunc computes
 * booleans and integers in, and a tuple of its name and its docstring, which is kept. numpy has
 * been imported. A fresh numpy.ufunc, or NULL with an exception set. */
PyObject *ufunc_new(PyObject *module, PyObject *args);

#endif
