/* What an argument is, and where its memory lies. */
#include "binding.h"

PyTypeObject *array_array_type;

static bool array_array_find(void) {
    if (array_array_type) return true;
    PyObject *name = PyUnicode_FromString("array");
    PyObject *module = name ? PyImport_GetModule(name) : NULL;
    array_array_type = module ? (PyTypeObject *)PyObject_GetAttrString(module, "array") : NULL;
    Py_XDECREF(module);
    Py_XDECREF(name);
    PyErr_Clear();
    return array_array_type != NULL;
}

container recognise(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    if (numpy_find()) {
        if (type == numpy.array_type || PyType_IsSubtype(type, numpy.array_type)) return NUMPY_ARRAY;
        if (PyType_IsSubtype(type, numpy.generic_type)) return NUMPY_SCALAR;
    }
    if (!PyObject_CheckBuffer(object)) return NOT_AN_ARRAY;
    if (array_array_find() && PyType_IsSubtype(type, array_array_type)) return ARRAY_ARRAY;
    return BUFFER;
}

int32_t format_dtype(const char *format) {
    if (format == NULL) return GORSQRT_DTYPES; /* unsigned bytes */
    if (*format == '@' || *format == '=' || *format == '<') format++;
    if (format[0] == 'f' && format[1] == 0) return GORSQRT_F32;
    if (format[0] == 'd' && format[1] == 0) return GORSQRT_F64;
    return GORSQRT_DTYPES;
}

/* Names an element type that has no kernel: str(object). */
static int name_type(operand *o, PyObject *object) {
    o->owned = PyObject_Str(object);
    o->array.type = o->owned ? PyUnicode_AsUTF8AndSize(o->owned, NULL) : NULL;
    return o->array.type ? 0 : -1;
}

static int take_buffer(operand *o) {
    /* Strides but no suboffsets; the exporter keeps the memory in place until the view is released. */
    if (PyObject_GetBuffer(o->object, &o->view, PyBUF_RECORDS_RO) < 0) return -1;
    o->array.data = o->view.buf;
    o->array.shape = o->view.shape;
    o->array.strides = o->view.strides;
    o->array.ndim = o->view.ndim;
    o->array.read_only = o->view.readonly;
    o->array.dtype = format_dtype(o->view.format);
    o->array.type = o->view.format ? o->view.format : "B";
    if (o->view.strides == NULL && o->view.ndim > 0 && o->view.ndim <= GORSQRT_MAX_NDIM) { /* ctypes */
        int64_t step = o->view.itemsize;
        for (int d = o->view.ndim - 1; d >= 0; d--) {
            o->strides[d] = step;
            step *= o->view.shape[d];
        }
        o->array.strides = o->strides;
    }
    return 0;
}

static int take_numpy_array(operand *o) {
    /* numpy's own fields: they hold while the caller keeps the array and doesn't reshape it; the plan has copies. */
    const numpy_array *a = (const numpy_array *)o->object;
    o->array.data = a->data;
    o->array.shape = a->dimensions;
    o->array.strides = a->strides;
    o->array.ndim = a->nd;
    o->array.read_only = !(a->flags & NUMPY_WRITEABLE);
    o->array.dtype = numpy_dtype(a->descr);
    return o->array.dtype == GORSQRT_DTYPES ? name_type(o, a->descr) : 0;
}

static int take_numpy_scalar(operand *o) {
    PyObject *descr = PyObject_GetAttrString(o->object, "dtype");
    if (descr == NULL) return -1;
    o->array.dtype = numpy_dtype(descr);
    o->array.read_only = 1;
    int failed = 0;
    if (o->array.dtype == GORSQRT_DTYPES) {
        failed = name_type(o, descr);
    } else {
        failed = PyObject_GetBuffer(o->object, &o->view, PyBUF_SIMPLE);
        o->array.data = o->view.buf;
    }
    Py_DECREF(descr);
    return failed;
}

int operand_take(operand *o, PyObject *object, container container) {
    o->object = object;
    o->container = container;
    o->view.obj = NULL;
    o->owned = NULL;
    o->array.ndim = 0;
    switch (container) {
        case NUMPY_ARRAY: return take_numpy_array(o);
        case NUMPY_SCALAR: return take_numpy_scalar(o);
        default: return take_buffer(o);
    }
}

void operand_release(operand *o) {
    if (o->view.obj) PyBuffer_Release(&o->view);
    Py_CLEAR(o->owned);
}
