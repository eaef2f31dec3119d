/* numpy's arrays and scalars, without numpy at build time or at import. Needs numpy's C API, a
 * table that an imported numpy holds, and the first fields of its structs, which don't change.
 * Large fresh arrays have memory from the pool. An array's memory is used only during the call,
 * while the caller keeps the array. */
#include "numpy.h"
#include "pool.h"

#include <string.h>

numpy_api numpy;

/* The indices of the entries of numpy's _ARRAY_API table that are used here; from numpy's
 * __multiarray_api.h. */
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

/* The dtypes by numpy's type numbers, NPY_BOOL to NPY_HALF; GORSQRT_DTYPES if there is none. */
static const int8_t dtype_of[] = {
    GORSQRT_BOOL,   GORSQRT_I8,     GORSQRT_U8,     GORSQRT_I16,    GORSQRT_U16,    GORSQRT_I32,
    GORSQRT_U32,    GORSQRT_I64,    GORSQRT_U64,    GORSQRT_I64,    GORSQRT_U64,    GORSQRT_F32,
    GORSQRT_F64,    GORSQRT_DTYPES, GORSQRT_C64,    GORSQRT_C128,   GORSQRT_DTYPES, GORSQRT_DTYPES,
    GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_DTYPES, GORSQRT_F16,
};
enum { NUMPY_TYPES = sizeof dtype_of };

/* The type ml_dtypes.bfloat16, once the program has imported ml_dtypes; never released. */
static PyTypeObject *bfloat16_type;

/* A handler for arrays' memory; from numpy's ndarraytypes.h. An array keeps the handler that was
 * set when it was made. */
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

/* Static: arrays keep its address while they live. */
static data_handler pooled_handler = {"gorsqrt", 1, NULL, pooled_malloc, pooled_calloc, pooled_realloc, pooled_free};

/* Reads the needed entries of numpy's table. False with an exception set. */
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
    /* The table is static data of numpy's extension module, which is never unloaded. A user's own
     * module called numpy may have some other object here. */
    bool const is = PyCapsule_IsValid(capsule, NULL);
    void **table = is ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    Py_DECREF(capsule);
    return !is ? 0 : read_table(table) ? 1 : -1;
}

/* Whether a subclass of ndarray or generic has an __array_ufunc__ that is not ndarray's: 1 or 0; -1
 * with an exception set. */
static int overrides(PyTypeObject *type) {
    static PyObject *name; /* held until the process ends */
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

container numpy_recognise(PyTypeObject *type) {
    int is = numpy_find();
    if (is <= 0) return NOT_AN_ARRAY;
    if (type == numpy.array_type) return NUMPY_ARRAY;
    bool const array = PyType_IsSubtype(type, numpy.array_type);
    if (!array && !PyType_IsSubtype(type, numpy.generic_type)) return NOT_AN_ARRAY;
    /* numpy's own scalar types are no heap types and have no __array_ufunc__. */
    is = array || PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) ? overrides(type) : 0;
    return is < 0 ? NOT_AN_ARRAY : is ? OVERRIDES_UFUNC : array ? NUMPY_ARRAY : NUMPY_SCALAR;
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
    if (PyErr_Occurred()) return -1;
    PyTypeObject *const type = Py_TYPE(out);
    if (type == numpy.array_type) return 0;
    PyObject *masked = imported("numpy.ma", "MaskedArray");
    bool const is_masked = masked && PyType_Check(masked) && PyType_IsSubtype(type, (PyTypeObject *)masked);
    bool const has_mask = is_masked && PyType_IsSubtype(Py_TYPE(input), (PyTypeObject *)masked);
    Py_XDECREF(masked);
    if (!is_masked) return PyErr_Occurred() ? -1 : 0;
    /* A copy of the mask, as numpy's functions leave it: a later masking of an item in one array
     * masks none in the other. */
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

/* bfloat16 is recognised by its Python type: its type number is assigned at run time, and other
 * types use its character too. */
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
    if (d->byteorder == '>') return GORSQRT_DTYPES; /* big-endian; all supported processors are little-endian */
    return (unsigned)d->type_num < NUMPY_TYPES ? dtype_of[d->type_num] : bfloat16(descr);
}

int32_t numpy_number_dtype(int number) {
    return dtype_of[number];
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

int numpy_take_array(operand *o, bool written) {
    (void)written;
    /* The memory is the array's, and the caller keeps the array. numpy refuses to resize it
     * meanwhile, unless it is told not to check references. */
    const numpy_array *a = (const numpy_array *)o->object;
    o->array.data = a->data;
    operand_copy_layout(o, a->nd, a->dimensions, a->strides);
    o->array.read_only = !(a->flags & NUMPY_WRITEABLE);
    o->array.dtype = numpy_dtype(a->descr);
    return o->array.dtype == GORSQRT_DTYPES ? operand_name_type(o, a->descr) : 0;
}

int numpy_take_scalar(operand *o, bool written) {
    (void)written;
    /* A fresh array of the scalar's value, held until the operand is released. */
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

/* Whether a subclass's array still has the layout and dtype it was made with: its
 * __array_finalize__ may have changed them. If not, an exception is set. */
static bool is_as_made(PyObject *object, PyObject *descr, int ndim, const int64_t *shape, const int64_t *strides) {
    const numpy_array *const a = (const numpy_array *)object;
    bool same = a->nd == ndim && a->descr == descr;
    for (int d = 0; same && d < ndim; d++) {
        same = a->dimensions[d] == shape[d] && (strides == NULL || a->strides[d] == strides[d]);
    }
    if (!same) {
        PyErr_Format(PyExc_TypeError, "rsqrt(): __array_finalize__ of %R changes a result's shape, strides or dtype; pass out",
                     (PyObject *)Py_TYPE(object));
    }
    return same;
}

/* Sets numpy's own memory handler again, in place of ours. An exception that is set stays. */
static int restore_handler(PyObject *theirs) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *const ours = numpy.set_handler(theirs);
    int const failed = ours == NULL ? -1 : 0;
    Py_XDECREF(ours);
    if (type) PyErr_Restore(type, value, traceback); /* replaces a newer exception */
    return failed;
}

fresh numpy_fresh(PyTypeObject *type, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides, PyObject *like) {
    PyObject *descr = numpy_descr_for(dtype);
    if (descr == NULL) return fresh_of(NULL, NULL);
    int64_t bytes = gorsqrt_item_size[dtype];
    for (int d = 0; d < ndim; d++) {
        if (__builtin_mul_overflow(bytes, shape[d], &bytes)) bytes = 0; /* too large: numpy says so */
    }
    PyObject *others = NULL;
    if (bytes >= POOLED && numpy.set_handler && (others = numpy.set_handler(numpy.pooled)) == NULL) return fresh_of(NULL, NULL);
    PyObject *array = numpy.new_from_descr(type, Py_NewRef(descr), ndim, shape, strides, NULL, 0, like);
    if (others) {
        if (restore_handler(others) < 0) {
            Py_CLEAR(array);               /* it failed for lack of memory, and this frees some */
            (void)restore_handler(others); /* otherwise all later arrays would use our handler */
        }
        Py_DECREF(others);
    }
    if (array && type != numpy.array_type && !is_as_made(array, descr, ndim, shape, strides)) Py_CLEAR(array);
    return fresh_of(array, array ? ((const numpy_array *)array)->data : NULL);
}

fresh numpy_fresh_like(const operand *like, int32_t dtype, const int64_t *strides) {
    PyTypeObject *const type = Py_TYPE(like->object);
    PyObject *const instance = type == numpy.array_type ? NULL : like->object;
    return numpy_fresh(type, dtype, like->array.ndim, like->array.shape, strides, instance);
}

fresh numpy_fresh_scalar(const operand *like, int32_t dtype, const int64_t *strides) {
    (void)like, (void)strides;
    return numpy_fresh(numpy.array_type, dtype, 0, NULL, NULL, NULL);
}

PyObject *numpy_scalar(const operand *input, PyObject *array) {
    (void)input;
    const numpy_array *const a = (const numpy_array *)array;
    PyObject *const scalar = numpy.scalar(a->data, a->descr, NULL);
    Py_DECREF(array);
    return scalar;
}
