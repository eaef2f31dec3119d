/* Questions to Python objects. They may run the object's own Python code. An AttributeError means
 * no; every other exception is passed on. */
#ifndef GORSQRT_OBJECT_H
#define GORSQRT_OBJECT_H

#include <Python.h> /* first, as it asks */

#include <stdbool.h>
#include <stdint.h>

/* For functions on every call's path whose frames have no array written by an index. A call of one
 * item takes some 20 ns, and each stack canary would add one. */
#define WITHOUT_CANARY __attribute__((no_stack_protector, hot, aligned(64)))

/* 1 or 0; -1 with an exception set. */
int has_attribute(PyObject *object, const char *name);

/* An attribute of a module that is already imported; NULL if there is no such module or attribute,
 * or with an exception set. */
PyObject *imported(const char *module, const char *attribute);

/* Whether an object is an instance of a class of a module that is already imported: 1 or 0; -1 with
 * an exception set. */
int is_instance(PyObject *object, const char *module, const char *name);

/* A tuple of integers; NULL with an exception set. */
PyObject *tuple_of(int length, const int64_t *integers);

/* Calls PyBuffer_Release and keeps the exception that is set, if any. */
void release_buffer(Py_buffer *view);

/* Sets an exception with a text from Go; a MemoryError if the text is NULL. */
void raise_text(PyObject *exception, const char *text);

#endif
