/* The express lane: calls that need no decision. Each function answers NULL without an exception if
 * the call needs one. */
#ifndef GORSQRT_EXPRESS_H
#define GORSQRT_EXPRESS_H

#include "object.h"

/* Whether the lane knows objects of exactly this type, and so has said all that it can of one. */
bool express_knows(PyTypeObject *type);

PyObject *express_fresh(PyObject *input);
PyObject *express_in_place(PyObject *input);
PyObject *express_out(PyObject *input, PyObject *out);

#endif
