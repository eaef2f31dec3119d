/* numpy's C API, without numpy at build time or at import. */
#include "binding.h"

numpy_api numpy;

/* The entries of numpy's _ARRAY_API table that are used, by number; from numpy's __multiarray_api.h. */
enum { ARRAY_TYPE = 2, GENERIC_TYPE = 10, DESCR_FROM_TYPE = 45, SCALAR = 60, NEW_FROM_DESCR = 94 };

/* numpy's numbers of the dtypes (NPY_FLOAT, NPY_DOUBLE), without padding to an enum of our own. */
static const int type_num[GORSQRT_DTYPES] = {[GORSQRT_F32] = 11, [GORSQRT_F64] = 12};

static PyObject *array_api(const char *module_name) {
    PyObject *name = PyUnicode_FromString(module_name);
    PyObject *module = name ? PyImport_GetModule(name) : NULL;
    Py_XDECREF(name);
    PyObject *capsule = module ? PyObject_GetAttrString(module, "_ARRAY_API") : NULL;
    Py_XDECREF(module);
    PyErr_Clear();
    return capsule;
}

bool numpy_find(void) {
    if (numpy.array_type) return true;
    PyObject *capsule = array_api("numpy._core.multiarray");
    if (capsule == NULL) capsule = array_api("numpy.core.multiarray");
    if (capsule == NULL) return false;
    /* The table is static data of numpy's extension module, which is never unloaded. */
    void **table = PyCapsule_GetPointer(capsule, NULL);
    Py_DECREF(capsule);
    if (table == NULL) {
        PyErr_Clear();
        return false;
    }
    PyObject *(*descr_from_type)(int) = (PyObject * (*)(int)) table[DESCR_FROM_TYPE];
    for (int t = 0; t < GORSQRT_DTYPES; t++) numpy.descr[t] = descr_from_type(type_num[t]);
    numpy.scalar = (PyObject * (*)(void *, PyObject *, PyObject *)) table[SCALAR];
    numpy.new_from_descr =
        (PyObject * (*)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int, PyObject *))
            table[NEW_FROM_DESCR];
    numpy.generic_type = table[GENERIC_TYPE];
    numpy.array_type = table[ARRAY_TYPE];
    return true;
}

int32_t numpy_dtype(PyObject *descr) {
    const numpy_descr *d = (const numpy_descr *)descr;
    if (d->byteorder == '>') return GORSQRT_DTYPES; /* big-endian: all that this is built for is little-endian */
    for (int32_t t = 0; t < GORSQRT_DTYPES; t++) {
        if (d->type_num == type_num[t]) return t;
    }
    return GORSQRT_DTYPES;
}
