/* What an argument is, and where its memory lies. */
#include "binding.h"

#include <string.h>

PyTypeObject *array_array_type;

/* Whether a type is array.array or a subclass. The module is looked up again for every other type but memoryview, since it may
 * be imported late or anew. */
static bool is_array_array(PyTypeObject *type) {
    if (array_array_type && PyType_IsSubtype(type, array_array_type)) return true;
    if (type == &PyMemoryView_Type) return false;
    PyObject *found = imported("array", "array");
    bool const fits =
        found && PyType_Check(found) && PyObject_HasAttrString(found, "typecode"); /* not somebody's own array.py */
    if (fits && found != (PyObject *)array_array_type) {
        Py_XDECREF((PyObject *)array_array_type);
        array_array_type = (PyTypeObject *)Py_NewRef(found);
    }
    Py_XDECREF(found);
    return fits && PyType_IsSubtype(type, array_array_type);
}

bool is_instance(PyObject *object, const char *module, const char *name) {
    PyObject *class = imported(module, name);
    int const is = class ? PyObject_IsInstance(object, class) : 0;
    if (is < 0) PyErr_Clear();
    Py_XDECREF(class);
    return is > 0;
}

/* Of the type, as with other protocols, and also of the object: a type may have it for those of its objects that are in CUDA
 * memory. */
static bool is_cuda_array(PyObject *object) {
    return PyObject_HasAttrString((PyObject *)Py_TYPE(object), "__cuda_array_interface__") &&
           PyObject_HasAttrString(object, "__cuda_array_interface__");
}

container recognise(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    if (numpy_find()) {
        if (type == numpy.array_type || PyType_IsSubtype(type, numpy.array_type)) return NUMPY_ARRAY;
        if (PyType_IsSubtype(type, numpy.generic_type)) return NUMPY_SCALAR;
    }
    bool const buffer = PyObject_CheckBuffer(object);
    int const tensor = buffer ? 0 : torch_is_tensor(type);
    if (tensor != 0) return tensor < 0 ? NOT_AN_ARRAY : TORCH_TENSOR;
    /* Of the type, not the object: a class that has the attribute is no array, and neither is what answers to every name. */
    bool const dlpack = type != &PyMemoryView_Type && PyObject_HasAttrString((PyObject *)type, "__dlpack__");
    if (buffer && !dlpack) return is_array_array(type) ? ARRAY_ARRAY : BUFFER;
    if (PyType_Check(object)) return NOT_AN_ARRAY;
    if (type == cuda_memory) return DEVICE_MEMORY;
    if (is_instance(object, "jax", "Array")) return JAX_ARRAY;
    if (dlpack && PyObject_HasAttrString((PyObject *)type, "__array_namespace__"))
        return is_cuda_array(object) ? CUDA_ARRAY : ARRAY_API;
    if (buffer) return BUFFER;
    if (torch_tensor && PyObject_HasAttrString((PyObject *)type, "__torch_function__")) return TORCH_TENSOR;
    if (PyObject_HasAttrString((PyObject *)type, "__array_interface__")) return ARRAY_INTERFACE;
    if (is_cuda_array(object)) return CUDA_ARRAY;
    return dlpack ? DLPACK : NOT_AN_ARRAY;
}

/* The signed, unsigned and floating-point dtypes by the size of an item. */
static int32_t signed_dtype(int64_t size) {
    return size == 1   ? GORSQRT_I8
           : size == 2 ? GORSQRT_I16
           : size == 4 ? GORSQRT_I32
           : size == 8 ? GORSQRT_I64
                       : GORSQRT_DTYPES;
}

static int32_t unsigned_dtype(int64_t size) {
    return size == 1   ? GORSQRT_U8
           : size == 2 ? GORSQRT_U16
           : size == 4 ? GORSQRT_U32
           : size == 8 ? GORSQRT_U64
                       : GORSQRT_DTYPES;
}

static int32_t float_dtype(int64_t size) {
    return size == 2 ? GORSQRT_F16 : size == 4 ? GORSQRT_F32 : size == 8 ? GORSQRT_F64 : GORSQRT_DTYPES;
}

static int32_t complex_dtype(int64_t size) {
    return size == 8 ? GORSQRT_C64 : size == 16 ? GORSQRT_C128 : GORSQRT_DTYPES;
}

int32_t kind_dtype(char kind, int64_t item_size) {
    switch (kind) {
        case 'b': return item_size == 1 ? GORSQRT_BOOL : GORSQRT_DTYPES;
        case 'i': return signed_dtype(item_size);
        case 'u': return unsigned_dtype(item_size);
        case 'f': return float_dtype(item_size);
        case 'c': return complex_dtype(item_size);
        default: return GORSQRT_DTYPES;
    }
}

int32_t format_dtype(const char *format, int64_t item_size) {
    if (format == NULL) return GORSQRT_U8;
    if (*format == '@' || *format == '=' || *format == '<') format++;
    bool const complex = *format == 'Z';
    if (complex) format++;
    if (format[0] == 0 || format[1] != 0) return GORSQRT_DTYPES;
    switch (*format) {
        case '?': return complex ? GORSQRT_DTYPES : GORSQRT_BOOL;
        case 'b':
        case 'h':
        case 'i':
        case 'l':
        case 'q': return complex ? GORSQRT_DTYPES : signed_dtype(item_size);
        case 'B':
        case 'H':
        case 'I':
        case 'L':
        case 'Q': return complex ? GORSQRT_DTYPES : unsigned_dtype(item_size);
        case 'e':
        case 'f':
        case 'd': return complex ? complex_dtype(item_size) : float_dtype(item_size);
        case 'F':
        case 'D': return complex ? GORSQRT_DTYPES : complex_dtype(item_size); /* newer CPythons' letters */
        default: return GORSQRT_DTYPES;
    }
}

int operand_name_type(operand *o, PyObject *type) {
    o->owned = PyObject_Str(type);
    o->array.type = o->owned ? PyUnicode_AsUTF8AndSize(o->owned, NULL) : NULL;
    return o->array.type ? 0 : -1;
}

bool operand_c_order(operand *o, int64_t item_size) {
    for (int d = o->array.ndim - 1; d >= 0; d--) {
        o->strides[d] = item_size;
        if (__builtin_mul_overflow(item_size, o->array.shape[d], &item_size)) return false;
    }
    o->array.strides = o->strides;
    return true;
}

static int take_buffer(operand *o) {
    /* Strides but no suboffsets; the exporter keeps the memory in place until the view is released. */
    if (PyObject_GetBuffer(o->object, &o->view, PyBUF_RECORDS_RO) < 0) return -1;
    o->array.data = o->view.buf;
    o->array.shape = o->view.shape;
    o->array.strides = o->view.strides;
    o->array.ndim = o->view.ndim;
    o->array.read_only = o->view.readonly;
    o->array.dtype = format_dtype(o->view.format, o->view.itemsize);
    o->array.type = o->view.format ? o->view.format : "B";
    if (o->view.strides == NULL && o->view.ndim <= GORSQRT_MAX_NDIM) { /* ctypes among others */
        if (!operand_c_order(o, o->view.itemsize)) {
            PyErr_SetString(PyExc_ValueError, "the buffer's shape is too large");
            return -1;
        }
    }
    return 0;
}

static int take_numpy_array(operand *o) {
    /* numpy's own fields: they hold while the caller keeps the array and the GIL is ours; the plan, which outlasts that, has
     * copies. */
    const numpy_array *a = (const numpy_array *)o->object;
    o->array.data = a->data;
    o->array.shape = a->dimensions;
    o->array.strides = a->strides;
    o->array.ndim = a->nd;
    o->array.read_only = !(a->flags & NUMPY_WRITEABLE);
    o->array.dtype = numpy_dtype(a->descr);
    return o->array.dtype == GORSQRT_DTYPES ? operand_name_type(o, a->descr) : 0;
}

static int take_numpy_scalar(operand *o) {
    /* A fresh array of the scalar's value; held until the operand is released. */
    PyObject *array = numpy.from_scalar(o->object, NULL);
    if (array == NULL) return -1;
    const numpy_array *a = (const numpy_array *)array;
    o->array.data = a->data;
    o->array.read_only = 1;
    o->array.dtype = numpy_dtype(a->descr);
    int failed = 0;
    if (o->array.dtype == GORSQRT_DTYPES) {
        failed = operand_name_type(o, a->descr);
        Py_DECREF(array);
    } else {
        o->owned = array;
    }
    return failed;
}

/* Numpy's array interface, version 3, and CUDA's, versions 2 and 3: a dict of shape, typestr, data and perhaps strides. */

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

/* Reads a tuple of integers into places. Its length, or -1 with an exception set. */
static int read_tuple(const char *name, PyObject *tuple, int64_t *places) {
    Py_ssize_t const length = PyTuple_Check(tuple) ? PyTuple_Size(tuple) : -1;
    if (length < 0 || length > GORSQRT_MAX_NDIM) {
        PyErr_Format(PyExc_ValueError, "%s: shape and strides must be tuples of at most %d integers", name,
                     (int)GORSQRT_MAX_NDIM);
        return -1;
    }
    for (Py_ssize_t d = 0; d < length; d++) {
        places[d] = PyLong_AsLongLong(PyTuple_GetItem(tuple, d));
        if (places[d] == -1 && PyErr_Occurred()) return -1;
    }
    return (int)length;
}

/* The dtype of a typestr such as "<f4", of this many characters. */
static int32_t typestr_dtype(const char *typestr, Py_ssize_t length) {
    if (length < 3 || length > 4 || strlen(typestr) != (size_t)length) return GORSQRT_DTYPES;
    int64_t size = 0;
    for (const char *digit = typestr + 2; *digit; digit++) {
        if (*digit < '0' || *digit > '9') return GORSQRT_DTYPES;
        size = 10 * size + (*digit - '0');
    }
    if (typestr[0] != '<' && typestr[0] != '|' && !(typestr[0] == '>' && size == 1)) return GORSQRT_DTYPES;
    return kind_dtype(typestr[1], size);
}

/* Whether every item lies within a buffer of `length` bytes whose first item is at `skip`. */
static bool lies_within(const gorsqrt_array *a, int64_t skip, int64_t length) {
    int64_t low = skip, high;
    if (skip < 0 || skip > length) return false;
    if (a->dtype == GORSQRT_DTYPES) return true; /* refused later, and never read */
    for (int d = 0; d < a->ndim; d++) {
        if (a->shape[d] == 0) return true;
    }
    if (__builtin_add_overflow(skip, gorsqrt_item_size[a->dtype], &high)) return false;
    for (int d = 0; d < a->ndim; d++) {
        int64_t reach;
        if (__builtin_mul_overflow(a->shape[d] - 1, a->strides[d], &reach)) return false;
        int64_t *const end = reach < 0 ? &low : &high;
        if (__builtin_add_overflow(*end, reach, end)) return false;
    }
    return low >= 0 && high <= length;
}

/* Where the memory is: (address, read-only), or an object with a buffer, which is held until the operand is released. */
static int read_interface_data(operand *o, const char *name, PyObject *data, PyObject *offset) {
    if (data && PyTuple_Check(data) && PyTuple_Size(data) == 2) {
        /* The object promises that its memory stays while it lives, and the caller keeps it alive. */
        o->array.data = PyLong_AsVoidPtr(PyTuple_GetItem(data, 0));
        if (PyErr_Occurred()) return -1;
        int const read_only = PyObject_IsTrue(PyTuple_GetItem(data, 1));
        o->array.read_only = read_only;
        return read_only < 0 ? -1 : 0;
    }
    bool const device = o->array.device != CPU; /* which has no buffers */
    if (data == NULL || device || !PyObject_CheckBuffer(data)) {
        PyErr_Format(PyExc_ValueError, "%s: data must be an address and a flag%s", name, device ? "" : ", or a buffer");
        return -1;
    }
    int64_t const skip = offset ? PyLong_AsLongLong(offset) : 0;
    if (PyErr_Occurred() || PyObject_GetBuffer(data, &o->view, PyBUF_SIMPLE) < 0) return -1;
    if (!lies_within(&o->array, skip, o->view.len)) {
        PyErr_Format(PyExc_ValueError, "%s: shape and strides reach beyond the buffer", name);
        return -1;
    }
    o->array.data = (char *)o->view.buf + skip;
    o->array.read_only = o->view.readonly;
    return 0;
}

int operand_take_interface(operand *o, const char *name) {
    PyObject *given = PyObject_GetAttrString(o->object, name);
    if (given == NULL) return -1;
    if (!PyDict_Check(given)) {
        Py_DECREF(given);
        PyErr_Format(PyExc_TypeError, "%s must be a dict", name);
        return -1;
    }
    /* A copy, which nobody else can change: its items are borrowed while numbers are read, which may run anybody's code. */
    PyObject *interface = o->owned = PyDict_Copy(given);
    Py_DECREF(given);
    if (interface == NULL) return -1;
    PyObject *shape = PyDict_GetItemString(interface, "shape"), *typestr = PyDict_GetItemString(interface, "typestr");
    PyObject *strides = PyDict_GetItemString(interface, "strides"), *mask = PyDict_GetItemString(interface, "mask");
    if (shape == NULL || typestr == NULL || !PyUnicode_Check(typestr) || (mask && mask != Py_None)) {
        PyErr_Format(PyExc_ValueError, "%s must have a shape and a typestr, and no mask", name);
        return -1;
    }
    int const ndim = read_tuple(name, shape, o->shape);
    if (ndim < 0) return -1;
    o->array.ndim = ndim;
    o->array.shape = o->shape;
    for (int d = 0; d < ndim; d++) {
        if (o->shape[d] < 0) {
            PyErr_Format(PyExc_ValueError, "%s: a length is negative", name);
            return -1;
        }
    }
    Py_ssize_t length;
    o->array.type = PyUnicode_AsUTF8AndSize(typestr, &length); /* lives in the dict, which is owned */
    if (o->array.type == NULL) return -1;
    o->array.dtype = typestr_dtype(o->array.type, length);
    if (strides && strides != Py_None) {
        int const entries = read_tuple(name, strides, o->strides);
        if (entries >= 0 && entries != ndim) PyErr_Format(PyExc_ValueError, "%s: strides and shape differ in length", name);
        if (entries != ndim) return -1;
        o->array.strides = o->strides;
    } else {
        if (!operand_c_order(o, o->array.dtype == GORSQRT_DTYPES ? 1 : gorsqrt_item_size[o->array.dtype])) {
            PyErr_Format(PyExc_ValueError, "%s: the shape is too large", name);
            return -1;
        }
    }
    return read_interface_data(o, name, PyDict_GetItemString(interface, "data"), PyDict_GetItemString(interface, "offset"));
}

int operand_take(operand *o, PyObject *object, container container, bool written) {
    o->object = object;
    o->container = container;
    o->view.obj = NULL;
    o->owned = NULL;
    o->managed = NULL;
    o->array.because = NULL;
    o->array.data = NULL;
    o->array.ndim = 0;
    o->array.shape = o->shape;
    o->array.strides = o->strides;
    o->array.device = CPU;
    o->array.launches = 0;
    o->array.index = -1;
    o->array.stream = 0;
    o->array.default_dtype = -1;
    switch (container) {
        case NUMPY_ARRAY: return take_numpy_array(o);
        case NUMPY_SCALAR: return take_numpy_scalar(o);
        case CUDA_ARRAY: return cuda_take(o);
        case DEVICE_MEMORY: return cuda_take_memory(o);
        case TORCH_TENSOR:
        case TORCH_KERNEL: return torch_take(o, written);
        case ARRAY_INTERFACE: return operand_take_interface(o, "__array_interface__");
        case DLPACK:
        case ARRAY_API: return dlpack_take(o, written);
        case JAX_ARRAY: return jax_take(o);
        default: return take_buffer(o);
    }
}

void operand_release(operand *o) {
    if (o->view.obj) PyBuffer_Release(&o->view);
    dlpack_release(o);
    Py_CLEAR(o->owned);
}
