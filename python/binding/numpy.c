/* numpy's C API, without numpy at build time or at import. */
#include "binding.h"

#include <string.h>

numpy_api numpy;

/* The entries of numpy's _ARRAY_API table that are used, by number; from numpy's __multiarray_api.h. */
enum {
    ARRAY_TYPE = 2,
    DESCR_TYPE = 3,
    GENERIC_TYPE = 10,
    DESCR_FROM_TYPE = 45,
    SCALAR = 60,
    FROM_SCALAR = 61,
    NEW_FROM_DESCR = 94,
    FEATURE_VERSION = 211,
    SET_HANDLER = 304
};

/* The dtypes by numpy's type numbers, NPY_BOOL to NPY_HALF; GORSQRT_DTYPES where there is none. */
static const int8_t dtype_of[] = {
    GORSQRT_BOOL,   GORSQRT_I8,     GORSQRT_U8,     GORSQRT_I16,    GORSQRT_U16,    GORSQRT_I32,
    GORSQRT_U32,    GORSQRT_I64,    GORSQRT_U64,    GORSQRT_I64,    GORSQRT_U64,    GORSQRT_F32,
    GORSQRT_F64,    GORSQRT_DTYPES, GORSQRT_C64,    GORSQRT_C128,   GORSQRT_DTYPES, GORSQRT_DTYPES,
    GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_F16,
};
enum { NUMPY_TYPES = sizeof dtype_of };

/* ml_dtypes.bfloat16, once somebody else has imported its module; never released. */
static PyTypeObject *bfloat16_type;

/* A handler of arrays' memory, from numpy's ndarraytypes.h: arrays that are made while it is set keep to it. */
typedef struct {
    char name[127];
    uint8_t version;
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *, size_t);
} data_handler;

static void *pooled_malloc(void *context, size_t bytes) {
    (void)context;
    return pool_take(bytes);
}

static void *pooled_calloc(void *context, size_t n, size_t size) {
    (void)context;
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) return NULL;
    void *memory = pool_take(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

static void pooled_free(void *context, void *memory, size_t bytes) {
    (void)context, (void)bytes;
    if (memory) pool_give(memory);
}

static void *pooled_realloc(void *context, void *memory, size_t bytes) {
    void *const moved = pool_take(bytes);
    if (memory == NULL || moved == NULL) return moved;
    size_t const had = pool_size(memory);
    memcpy(moved, memory, had < bytes ? had : bytes);
    pooled_free(context, memory, had);
    return moved;
}

/* Static: arrays keep its address for as long as they live. */
static data_handler pooled_handler = {"gorsqrt", 1, NULL, pooled_malloc, pooled_calloc, pooled_realloc, pooled_free};

PyObject *imported(const char *module_name, const char *attribute) {
    PyObject *name = PyUnicode_FromString(module_name);
    PyObject *module = name ? PyImport_GetModule(name) : NULL;
    PyObject *value = module ? PyObject_GetAttrString(module, attribute) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(name);
    /* A module that loads itself at its first use, and can't, is not there. */
    if (module && value == NULL && (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_ImportError)))
        PyErr_Clear();
    return value;
}

/* Takes what is needed out of numpy's table. False with an exception set. */
static bool read_table(void **table) {
    PyObject *(*descr_from_type)(int) = (PyObject * (*)(int)) table[DESCR_FROM_TYPE];
    for (int number = 0; number < NUMPY_TYPES; number++) {
        int const dtype = dtype_of[number];
        if (dtype >= GORSQRT_COMPUTED || numpy.descr[dtype]) continue;
        numpy.descr[dtype] = descr_from_type(number);
        if (numpy.descr[dtype] == NULL) return false;
    }
    unsigned (*const feature_version)(void) = (unsigned (*)(void))table[FEATURE_VERSION];
    if (feature_version() >= 0xf && numpy.pooled == NULL) {
        numpy.pooled = PyCapsule_New(&pooled_handler, "mem_handler", NULL);
        if (numpy.pooled == NULL) return false;
        numpy.set_handler = (PyObject * (*)(PyObject *)) table[SET_HANDLER];
    }
    numpy.from_scalar = (PyObject * (*)(PyObject *, PyObject *)) table[FROM_SCALAR];
    numpy.scalar = (PyObject * (*)(void *, PyObject *, PyObject *)) table[SCALAR];
    numpy.new_from_descr =
        (PyObject * (*)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int, PyObject *))
            table[NEW_FROM_DESCR];
    numpy.generic_type = table[GENERIC_TYPE];
    numpy.descr_type = table[DESCR_TYPE];
    numpy.array_type = table[ARRAY_TYPE];
    return true;
}

int numpy_find(void) {
    if (numpy.array_type) return 1;
    PyObject *capsule = imported("numpy._core.multiarray", "_ARRAY_API");
    if (capsule == NULL && !PyErr_Occurred()) capsule = imported("numpy.core.multiarray", "_ARRAY_API");
    if (capsule == NULL) return PyErr_Occurred() ? -1 : 0;
    /* The table is static data of numpy's extension module, which is never unloaded. Somebody's own numpy may have another. */
    bool const is = PyCapsule_IsValid(capsule, NULL);
    void **table = is ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    Py_DECREF(capsule);
    return !is ? 0 : read_table(table) ? 1 : -1;
}

int numpy_overrides(PyTypeObject *type) {
    static PyObject *name; /* held for ever */
    if (name == NULL) name = PyUnicode_InternFromString("__array_ufunc__");
    PyObject *of_type = name ? PyObject_GetAttr((PyObject *)type, name) : NULL;
    if (of_type == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
        return 0; /* a scalar */
    }
    PyObject *own = PyObject_GetAttr((PyObject *)numpy.array_type, name);
    int const overrides = own ? of_type != own : -1;
    Py_XDECREF(own);
    Py_DECREF(of_type);
    return overrides;
}

void numpy_refuse(const char *function, const char *argument, PyObject *object) {
    PyObject *type = (PyObject *)Py_TYPE(object);
    PyObject *own = PyObject_GetAttrString(type, "__array_ufunc__");
    if (own == NULL) return;
    PyErr_Format(
        PyExc_TypeError, "%s(): argument '%s' is of %R, whose %s; pass the plain values, np.asarray(x)", function, argument,
        type, own == Py_None ? "__array_ufunc__ is None: it takes part in no ufunc" : "own __array_ufunc__ would not be asked");
    Py_DECREF(own);
}

int numpy_written(PyObject *out, PyObject *input) {
    PyTypeObject *const type = Py_TYPE(out);
    if (type == numpy.array_type) return 0;
    PyObject *masked = imported("numpy.ma", "MaskedArray");
    bool const is_masked = masked && PyType_Check(masked) && PyType_IsSubtype(type, (PyTypeObject *)masked);
    bool const has_mask = is_masked && PyType_IsSubtype(Py_TYPE(input), (PyTypeObject *)masked);
    Py_XDECREF(masked);
    if (!is_masked) return PyErr_Occurred() ? -1 : 0;
    /* Its own mask, as numpy's are after that: to mask an item of one later masks none of the other. */
    PyObject *source = has_mask ? Py_NewRef(input) : PyObject_GetAttrString(out, "data");
    PyObject *module = source ? PyImport_ImportModule("numpy.ma") : NULL;
    PyObject *shared = module ? PyObject_CallMethod(module, "getmaskarray", "O", source) : NULL;
    PyObject *mask = shared ? PyObject_CallMethod(shared, "copy", NULL) : NULL;
    int const failed = mask == NULL || PyObject_SetAttrString(out, "_mask", mask) < 0 ||
                       PyObject_SetAttrString(out, "_sharedmask", Py_False) < 0;
    Py_XDECREF(mask);
    Py_XDECREF(shared);
    Py_XDECREF(module);
    Py_XDECREF(source);
    return failed ? -1 : 0;
}

/* bfloat16 is known by its Python type: its number is given out at run time, and its character stands for others too. */
static int32_t bfloat16(PyObject *descr) {
    if (bfloat16_type == NULL) bfloat16_type = (PyTypeObject *)imported("ml_dtypes", "bfloat16");
    if (bfloat16_type == NULL || ((const numpy_descr *)descr)->typeobj != bfloat16_type) return GORSQRT_DTYPES;
    if (numpy.descr[GORSQRT_BF16] == NULL) numpy.descr[GORSQRT_BF16] = Py_NewRef(descr);
    return GORSQRT_BF16;
}

int32_t numpy_dtype_of(PyObject *dtype) {
    return numpy.descr_type && PyObject_TypeCheck(dtype, numpy.descr_type) ? numpy_dtype(dtype) : GORSQRT_DTYPES;
}

int32_t numpy_dtype(PyObject *descr) {
    const numpy_descr *d = (const numpy_descr *)descr;
    if (d->byteorder == '>') return GORSQRT_DTYPES; /* big-endian: all that this is built for is little-endian */
    return (unsigned)d->type_num < NUMPY_TYPES ? dtype_of[d->type_num] : bfloat16(descr);
}

PyObject *numpy_descr_for(int32_t dtype) {
    if (numpy.descr[dtype]) return numpy.descr[dtype];
    PyObject *type = imported("ml_dtypes", "bfloat16");
    PyObject *dtype_class = type ? imported("numpy", "dtype") : NULL;
    if (dtype_class) numpy.descr[dtype] = PyObject_CallFunctionObjArgs(dtype_class, type, NULL);
    Py_XDECREF(type);
    Py_XDECREF(dtype_class);
    if (numpy.descr[dtype] == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "rsqrt(): a numpy array of bfloat16 needs the package ml_dtypes to be imported");
    }
    return numpy.descr[dtype];
}
