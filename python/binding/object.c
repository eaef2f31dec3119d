/* Questions to Python objects. Needs only Python's C API. Every reference that is taken here is
 * released, except those in a result. */
#include "object.h"

int has_attribute(PyObject *object, const char *name) {
    PyObject *value = PyObject_GetAttrString(object, name);
    if (value == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(value);
    return 1;
}

PyObject *imported(const char *module_name, const char *attribute) {
    PyObject *name = PyUnicode_FromString(module_name);
    PyObject *module = name ? PyImport_GetModule(name) : NULL;
    PyObject *value = module ? PyObject_GetAttrString(module, attribute) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(name);
    /* A module that is loaded lazily and can't be loaded counts as not imported. */
    if (module && value == NULL && (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_ImportError)))
        PyErr_Clear();
    return value;
}

int is_instance(PyObject *object, const char *module, const char *name) {
    PyObject *class = imported(module, name);
    if (class == NULL) return PyErr_Occurred() ? -1 : 0;
    int const is = PyObject_IsInstance(object, class);
    Py_DECREF(class);
    return is;
}

PyObject *tuple_of(int length, const int64_t *integers) {
    PyObject *tuple = PyTuple_New(length);
    for (int i = 0; tuple && i < length; i++) {
        PyObject *integer = PyLong_FromLongLong(integers[i]);
        if (integer) {
            PyTuple_SetItem(tuple, i, integer);
        } else {
            Py_CLEAR(tuple);
        }
    }
    return tuple;
}

void release_buffer(Py_buffer *view) {
    if (!PyErr_Occurred()) {
        PyBuffer_Release(view);
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* an exporter may run Python code, which must not see our exception */
    PyBuffer_Release(view);
    PyErr_Restore(type, value, traceback);
}

void raise_text(PyObject *exception, const char *text) {
    if (text) {
        PyErr_SetString(exception, text);
    } else {
        PyErr_NoMemory();
    }
}
