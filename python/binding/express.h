/* The express lane: calls that need no decision by Go. Each function answers NULL without an
 * exception if the call needs one. */
#ifndef GORSQRT_EXPRESS_H
#define GORSQRT_EXPRESS_H

#include "object.h"

/* Whether the lane handles objects of exactly this type. If so, asking it again about the same
 * object gives the same answer. */
bool express_knows(PyTypeObject *type);

PyObject *express_fresh(PyObject *input);
PyObject *express_in_place(PyObject *input);
PyObject *express_out(PyObject *input, PyObject *out);

#endif
