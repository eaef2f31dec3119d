/* Functions that the files of all containers share: names of element types, the array interface's
 * dict, and checks of the layout that an object states. Needs object.c. No element is read here. An
 * operand that has passed the checks has a layout without overflow, an address unless it has no
 * items, and lies within its buffer if the interface names one. */
#include "operand.h"
#include "layout.h"

#include <string.h>

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
    if (format == NULL) return unsigned_dtype(item_size == 1 ? 1 : 0);
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
        case 'e': return !complex && item_size == 2 ? GORSQRT_F16 : GORSQRT_DTYPES;
        case 'f': return item_size != (complex ? 8 : 4) ? GORSQRT_DTYPES : complex ? GORSQRT_C64 : GORSQRT_F32;
        case 'd': return item_size != (complex ? 16 : 8) ? GORSQRT_DTYPES : complex ? GORSQRT_C128 : GORSQRT_F64;
        case 'F': return !complex && item_size == 8 ? GORSQRT_C64 : GORSQRT_DTYPES; /* letters of newer CPythons */
        case 'D': return !complex && item_size == 16 ? GORSQRT_C128 : GORSQRT_DTYPES;
        default: return GORSQRT_DTYPES;
    }
}

int operand_name_type(operand *o, PyObject *type) {
    if (PyErr_Occurred()) return -1;
    o->owned = PyObject_Str(type);
    o->array.type = o->owned ? PyUnicode_AsUTF8AndSize(o->owned, NULL) : NULL;
    return o->array.type ? 0 : -1;
}

bool operand_c_order(operand *o, int64_t item_size) {
    o->array.strides = o->strides;
    return layout_c_order(o->array.ndim, o->array.shape, item_size, o->strides);
}

const char *operand_measure(const gorsqrt_array *a, extent *e) {
    int64_t const size = gorsqrt_item_size[a->dtype];
    bool none = false, fits = true;
    *e = (extent){0, 0, 0};
    if (a->ndim > 0 && a->shape == NULL) return "shape is NULL";
    for (int d = 0; d < a->ndim; d++) {
        if (a->shape[d] < 0) return "a length is negative";
        none |= a->shape[d] == 0;
    }
    if (none) return NULL;
    e->bytes = e->high = size;
    for (int d = 0; d < a->ndim && fits; d++) {
        int64_t reach;
        fits = !__builtin_mul_overflow(e->bytes, a->shape[d], &e->bytes) &&
               !__builtin_mul_overflow(a->shape[d] - 1, a->strides[d], &reach);
        int64_t *const end = fits && reach < 0 ? &e->low : &e->high;
        fits = fits && !__builtin_add_overflow(*end, reach, end);
    }
    return fits ? NULL : "shape and strides are too large";
}

const char *operand_place(gorsqrt_array *a, const extent *e, const void *data) {
    enum { LEAST = 4096 }; /* Go ends a process that holds a pointer to a lower address */
    uintptr_t const first = (uintptr_t)data;
    a->data = first < LEAST ? NULL : (void *)data; /* the object's memory, kept in place while the operand is held */
    if (e->bytes == 0) return NULL;
    if (data == NULL) return "data is NULL";
    bool const fits = a->data && first > -(uint64_t)e->low && first <= UINT64_MAX - (uint64_t)e->high;
    return fits ? NULL : "data can't be the address of this many items";
}

/* Beyond the limit nothing is copied: the call is refused later, and shape and strides are never
 * read. */
void operand_copy_layout(operand *o, int ndim, const int64_t *shape, const int64_t *strides) {
    o->array.ndim = ndim;
    for (int d = 0; d < ndim && ndim <= GORSQRT_MAX_NDIM; d++) {
        o->shape[d] = shape[d];
        o->strides[d] = strides[d];
    }
}

/* The array interface: numpy's version 3, and CUDA's versions 2 and 3. It is a dict of shape,
 * typestr, data and perhaps strides. */

/* Reads a tuple of integers into `places`. Its length, or -1 with an exception set. */
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

/* Whether all of an extent lies within a buffer of `length` bytes whose first item is at `skip`. */
static bool lies_within(const extent *e, int64_t skip, int64_t length) {
    int64_t low, high;
    return skip >= 0 && skip <= length && !__builtin_add_overflow(skip, e->low, &low) &&
           !__builtin_add_overflow(skip, e->high, &high) && low >= 0 && high <= length;
}

/* Reads the address of the memory: from a pair (address, read-only), or from an object with a
 * buffer, which is held until the operand is released. */
static int read_interface_data(operand *o, const char *name, const extent *e, PyObject *data, PyObject *offset) {
    const char *flaw;
    if (data && PyTuple_Check(data) && PyTuple_Size(data) == 2) {
        /* The object promises that its memory stays in place while it lives, and the caller keeps
         * it alive. */
        void *const address = PyLong_AsVoidPtr(PyTuple_GetItem(data, 0));
        if (PyErr_Occurred()) return -1;
        int const read_only = PyObject_IsTrue(PyTuple_GetItem(data, 1));
        if (read_only < 0) return -1;
        o->array.read_only = read_only;
        flaw = operand_place(&o->array, e, address);
    } else {
        bool const device = o->array.device != CPU; /* a device's memory has no buffers */
        if (data == NULL || device || !PyObject_CheckBuffer(data)) {
            PyErr_Format(PyExc_ValueError, "%s: data must be an address and a flag%s", name, device ? "" : ", or a buffer");
            return -1;
        }
        int64_t const skip = offset ? PyLong_AsLongLong(offset) : 0;
        if (PyErr_Occurred() || PyObject_GetBuffer(data, &o->view, PyBUF_SIMPLE) < 0) return -1;
        o->array.read_only = o->view.readonly;
        flaw = lies_within(e, skip, o->view.len) ? operand_place(&o->array, e, (char *)o->view.buf + skip)
                                                 : "shape and strides reach beyond the buffer";
    }
    if (flaw) PyErr_Format(PyExc_ValueError, "%s: %s", name, flaw);
    return flaw ? -1 : 0;
}

PyObject *operand_interface_item(const operand *o, const char *key) {
    PyObject *name = PyUnicode_FromString(key);
    PyObject *item = name ? PyDict_GetItemWithError(o->owned, name) : NULL;
    Py_XDECREF(name);
    return item;
}

int operand_take_interface(operand *o, const char *name, int32_t dtype) {
    PyObject *given = PyObject_GetAttrString(o->object, name);
    if (given == NULL) return -1;
    if (!PyDict_Check(given)) {
        Py_DECREF(given);
        PyErr_Format(PyExc_TypeError, "%s must be a dict", name);
        return -1;
    }
    /* A copy that no other code can change: its items are borrowed while numbers are read, and
     * reading may run any Python code. */
    o->owned = PyDict_Copy(given);
    Py_DECREF(given);
    if (o->owned == NULL) return -1;
    enum { SHAPE, TYPESTR, STRIDES, MASK, DATA, OFFSET, ITEMS };
    static const char *const key[ITEMS] = {"shape", "typestr", "strides", "mask", "data", "offset"};
    PyObject *item[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        item[i] = operand_interface_item(o, key[i]);
        if (item[i] == NULL && PyErr_Occurred()) return -1;
    }
    PyObject *const strides = item[STRIDES] == Py_None ? NULL : item[STRIDES];
    if (item[SHAPE] == NULL || item[TYPESTR] == NULL || !PyUnicode_Check(item[TYPESTR]) ||
        (item[MASK] && item[MASK] != Py_None)) {
        PyErr_Format(PyExc_ValueError, "%s must have a shape and a typestr, and no mask", name);
        return -1;
    }
    o->array.ndim = read_tuple(name, item[SHAPE], o->shape);
    if (o->array.ndim < 0) return -1;
    Py_ssize_t length;
    o->array.type = PyUnicode_AsUTF8AndSize(item[TYPESTR], &length); /* part of the dict, which the operand owns */
    if (o->array.type == NULL) return -1;
    o->array.dtype = dtype == GORSQRT_DTYPES ? typestr_dtype(o->array.type, length) : dtype;
    bool const known = o->array.dtype != GORSQRT_DTYPES; /* if not, the call is refused later, and the memory is never read */
    if (strides) {
        int const entries = read_tuple(name, strides, o->strides);
        if (entries >= 0 && entries != o->array.ndim) {
            PyErr_Format(PyExc_ValueError, "%s: strides and shape differ in length", name);
        }
        if (entries != o->array.ndim) return -1;
    } else if (!operand_c_order(o, known ? gorsqrt_item_size[o->array.dtype] : 1)) {
        PyErr_Format(PyExc_ValueError, "%s: the shape is too large", name);
        return -1;
    }
    extent e = {0, 0, 0};
    const char *const flaw = known ? operand_measure(&o->array, &e) : NULL;
    if (flaw) {
        PyErr_Format(PyExc_ValueError, "%s: %s", name, flaw);
        return -1;
    }
    return read_interface_data(o, name, &e, item[DATA], item[OFFSET]);
}

void operand_begin(operand *o, PyObject *object, container container) {
    o->object = object;
    o->container = container;
    o->view.obj = NULL;
    o->owned = NULL;
    o->managed = NULL;
    o->give_back = NULL;
    o->array = (gorsqrt_array){.shape = o->shape,
                               .strides = o->strides,
                               .type = "",
                               .dtype = GORSQRT_DTYPES,
                               .device = CPU,
                               .index = -1,
                               .default_dtype = -1};
}

void operand_release(operand *o) {
    if (o->view.obj) release_buffer(&o->view);
    if (o->give_back) o->give_back(o);
    Py_CLEAR(o->owned);
}
