/* jax's arrays and tracers, which jax itself computes by calling a function of ours. */
#ifndef GORSQRT_JAX_H
#define GORSQRT_JAX_H

#include "operand.h"

/* Fills in an operand as jax_compute needs it: without memory. */
int jax_take(operand *o, bool written);

/* 1/√x of a jax array, of this dtype, by jax; NULL with an exception set. */
PyObject *jax_compute(const operand *x, int32_t dtype);

/* Whether an array of jax's can be read as DLPack: 0, or -1 with an exception set. */
int jax_needs_memory(const char *function, PyObject *array);

/* Adds the functions that gorsqrt/jax.py calls. */
int jax_install(PyObject *module);

#endif
