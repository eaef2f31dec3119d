/* The buffer protocol, array.array and numpy's array interface. Needs operand.c for the checks and
 * memory.c for memoryviews. A fresh result is an array.array if the input is one, has one dimension
 * and array has a type code for the dtype; otherwise it is a memoryview. A buffer's memory is used
 * only while its view is held, and the exporter keeps the memory in place until then. */
#include "buffer.h"
#include "memory.h"

PyTypeObject *array_array_type;

/* Whether a type is array.array or a subclass: 1 or 0; -1 with an exception set. Every other type
 * but memoryview looks the module up again, since it may be imported late, or imported anew. */
int buffer_is_array(PyTypeObject *type) {
    if (array_array_type && PyType_IsSubtype(type, array_array_type)) return 1;
    if (type == &PyMemoryView_Type) return 0;
    PyObject *found = imported("array", "array");
    if (found == NULL) return PyErr_Occurred() ? -1 : 0;
    /* The program may have replaced array.array by a subclass. The class written in C is the one
     * directly below object. */
    PyTypeObject *own = PyType_Check(found) ? (PyTypeObject *)found : &PyBaseObject_Type, *base;
    while ((base = PyType_GetSlot(own, Py_tp_base)) != NULL && base != &PyBaseObject_Type) own = base;
    int fits = has_attribute((PyObject *)own, "typecode"); /* false for a user's own array.py */
    if (fits > 0 && own != array_array_type) {
        Py_XDECREF((PyObject *)array_array_type);
        array_array_type = (PyTypeObject *)Py_NewRef((PyObject *)own);
    }
    if (fits > 0) fits = PyType_IsSubtype(type, array_array_type);
    Py_DECREF(found);
    return fits;
}

/* Checks the exporter's answer; false with an exception set. */
static bool check_buffer(operand *o) {
    const Py_buffer *const view = &o->view;
    if (view->ndim < 0 || (view->ndim > 0 && view->shape == NULL) || view->suboffsets) {
        PyErr_SetString(PyExc_BufferError, "the buffer has no shape, or it has suboffsets that were not requested");
        return false;
    }
    if (o->array.dtype == GORSQRT_DTYPES || view->ndim > GORSQRT_MAX_NDIM) return true; /* refused later, and never read */
    if (view->strides == NULL && !operand_c_order(o, view->itemsize)) {                 /* ctypes among others */
        PyErr_SetString(PyExc_ValueError, "the buffer's shape is too large");
        return false;
    }
    extent e;
    const char *flaw = operand_measure(&o->array, &e);
    if (flaw == NULL && e.bytes != view->len) flaw = "its length does not match its items";
    if (flaw == NULL) flaw = operand_place(&o->array, &e, view->buf);
    if (flaw) PyErr_Format(PyExc_BufferError, "the buffer can't be read: %s", flaw);
    return flaw == NULL;
}

int buffer_take(operand *o, bool written) {
    (void)written;
    /* A request for strides but no suboffsets. The exporter keeps the memory in place until the
     * view is released. */
    if (PyObject_GetBuffer(o->object, &o->view, PyBUF_RECORDS_RO) < 0) return -1;
    o->array.data = NULL;
    o->array.shape = o->view.shape;
    o->array.strides = o->view.strides;
    o->array.ndim = o->view.ndim;
    o->array.read_only = o->view.readonly;
    o->array.dtype = format_dtype(o->view.format, o->view.itemsize);
    o->array.type = o->view.format ? o->view.format : "B";
    return check_buffer(o) ? 0 : -1;
}

int buffer_take_interface(operand *o, bool written) {
    (void)written;
    return operand_take_interface(o, "__array_interface__", GORSQRT_DTYPES);
}

fresh buffer_memoryview(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides) {
    if (buffer_format[dtype] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "rsqrt(): a memoryview can't have dtype bfloat16; pass out, or choose another default");
        return fresh_of(NULL, NULL);
    }
    fresh const m = memory_fresh(dtype, ndim, shape, strides);
    PyObject *view = m.object ? PyMemoryView_FromObject(m.object) : NULL;
    Py_XDECREF(m.object);
    return fresh_of(view, m.data); /* the view keeps m.object, and so the memory */
}

/* Per dtype array.array(code, [0]) and the type that made it. Repeating this array makes an array
 * of n elements without a list of n elements. */
static struct {
    PyTypeObject *type;
    PyObject *array;
} one_element[GORSQRT_COMPUTED];

WITHOUT_CANARY fresh buffer_array(int32_t dtype, int64_t n) {
    if (one_element[dtype].type != array_array_type) {
        PyObject *one = PyObject_CallFunction((PyObject *)array_array_type, "s[d]", buffer_format[dtype], 0.0);
        if (one == NULL) return fresh_of(NULL, NULL);
        Py_XDECREF(one_element[dtype].array);
        one_element[dtype].array = one;
        one_element[dtype].type = array_array_type;
    }
    PyObject *array = PySequence_Repeat(one_element[dtype].array, n);
    Py_buffer view;
    if (array == NULL || PyObject_GetBuffer(array, &view, PyBUF_CONTIG | PyBUF_FORMAT) < 0) {
        Py_XDECREF(array);
        return fresh_of(NULL, NULL);
    }
    /* A user's module may be called `array`, so the class may not be CPython's. */
    bool const fits = Py_IS_TYPE(array, array_array_type) && view.ndim == 1 && view.len == n * gorsqrt_item_size[dtype] &&
                      view.itemsize == gorsqrt_item_size[dtype] && format_dtype(view.format, view.itemsize) == dtype;
    void *const data = view.buf;
    PyBuffer_Release(&view);
    if (!fits) {
        PyErr_Format(PyExc_TypeError, "rsqrt(): %R times %zd is not an array of this many items; pass out",
                     one_element[dtype].array, (Py_ssize_t)n);
        Py_CLEAR(array);
    }
    /* No other code has seen the array, so it can't be resized before the call returns. */
    return fresh_of(array, data);
}

fresh buffer_fresh(const operand *like, int32_t dtype, const int64_t *strides) {
    return buffer_memoryview(dtype, like->array.ndim, like->array.shape, strides);
}

fresh buffer_fresh_array(const operand *like, int32_t dtype, const int64_t *strides) {
    bool const has_code = dtype == GORSQRT_F32 || dtype == GORSQRT_F64;
    return has_code && like->array.ndim == 1 ? buffer_array(dtype, like->array.shape[0]) : buffer_fresh(like, dtype, strides);
}
