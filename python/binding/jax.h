/* jax's arrays and tracers. jax computes them by calling a function of this library. */
#ifndef GORSQRT_JAX_H
#define GORSQRT_JAX_H

#include "operand.h"

/* Fills in an operand, without memory, for jax_compute. */
int jax_take(operand *o, bool written);

/* 1/√x of a jax array in this dtype, computed by jax; NULL with an exception set. */
PyObject *jax_compute(const operand *x, int32_t dtype);

/* Whether DLPack can read a jax array's memory: 0, or -1 with an exception set. */
int jax_needs_memory(const char *function, PyObject *array);

/* Adds the functions that gorsqrt/jax.py calls. */
int jax_install(PyObject *module);

#endif
