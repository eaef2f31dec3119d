/* Questions to Python objects. They may run anybody's code: only an AttributeError is a no, every
 * other exception is passed on. */
#ifndef GORSQRT_OBJECT_H
#define GORSQRT_OBJECT_H

#include <Python.h> /* first, as it asks */

#include <stdbool.h>
#include <stdint.h>

/* For functions that every call passes and whose frames have no array that is written by an index.
 * A call of one item takes some 20 ns, and each canary would add one. */
#define WITHOUT_CANARY __attribute__((no_stack_protector, hot, aligned(64)))

/* 1 or 0; -1 with an exception set. */
int has_attribute(PyObject *object, const char *name);

/* An attribute of a module that is already imported; NULL if there is none, or with an exception
 * set. */
PyObject *imported(const char *module, const char *attribute);

/* Whether an object is an instance of a class of a module that is already imported: 1 or 0; -1 with
 * an exception set. */
int is_instance(PyObject *object, const char *module, const char *name);

/* A tuple of integers; NULL with an exception set. */
PyObject *tuple_of(int length, const int64_t *integers);

/* PyBuffer_Release, which keeps the exception that is set, if any. */
void release_buffer(Py_buffer *view);

/* Sets an exception with a text of Go's; a MemoryError if the text is NULL. */
void raise_text(PyObject *exception, const char *text);

#endif
