/* Fresh containers for results. */
#include "binding.h"

#include <string.h>

enum { ALIGNMENT = 64 }; /* bytes: a cache line, and the widest vector */

/* The format characters of the dtypes, which are array.array's type codes too. */
static const char *const format[GORSQRT_DTYPES] = {[GORSQRT_F32] = "f", [GORSQRT_F64] = "d"};

static int64_t count(int ndim, const int64_t *shape) {
    int64_t n = 1;
    for (int d = 0; d < ndim; d++) n *= shape[d];
    return n;
}

/* What a resulting memoryview looks into. Owns one block: the elements, then shape and strides. The block is freed with the object, which every view of it keeps
 * alive. */
typedef struct {
    PyObject_HEAD char *block;
    int64_t *shape, *strides, bytes;
    int32_t dtype, ndim;
} memory;

static PyTypeObject *memory_type;

static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    (void)flags; /* only memoryview asks, for everything, and it answers for the flags of whoever asks it */
    memory *m = (memory *)self;
    view->obj = Py_NewRef(self);
    view->buf = m->block;
    view->len = m->bytes;
    view->itemsize = gorsqrt_item_size[m->dtype];
    view->readonly = 0;
    view->ndim = m->ndim;
    view->format = (char *)format[m->dtype];
    view->shape = m->shape;
    view->strides = m->strides;
    view->suboffsets = NULL;
    view->internal = NULL;
    return 0;
}

static void memory_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    free(((memory *)self)->block);
    freefunc const release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *memory_view(int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides, void **data) {
    allocfunc const allocate = (allocfunc)PyType_GetSlot(memory_type, Py_tp_alloc);
    memory *m = (memory *)allocate(memory_type, 0);
    if (m == NULL) return NULL;
    m->dtype = dtype;
    m->ndim = ndim;
    m->bytes = count(ndim, shape) * gorsqrt_item_size[dtype];
    int64_t const elements = (m->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *block;
    if (posix_memalign(&block, ALIGNMENT, (size_t)(elements + 2 * ndim * (int64_t)sizeof *shape)) != 0) {
        Py_DECREF(m);
        return PyErr_NoMemory();
    }
    m->block = block;
    m->shape = (int64_t *)(m->block + elements);
    m->strides = m->shape + ndim;
    if (ndim > 0) {
        memcpy(m->shape, shape, (size_t)ndim * sizeof *shape);
        memcpy(m->strides, strides, (size_t)ndim * sizeof *strides);
    }
    *data = m->block;
    PyObject *view = PyMemoryView_FromObject((PyObject *)m);
    Py_DECREF(m);
    return view;
}

/* array.array(code, [0]) per dtype: repeating it is the way to an array of n elements without a list of them. */
static PyObject *one_element[GORSQRT_DTYPES];

PyObject *result_array_array(int32_t dtype, int64_t n, void **data) {
    if (one_element[dtype] == NULL) {
        one_element[dtype] = PyObject_CallFunction((PyObject *)array_array_type, "s[d]", format[dtype], 0.0);
        if (one_element[dtype] == NULL) return NULL;
    }
    PyObject *array = PySequence_Repeat(one_element[dtype], n);
    Py_buffer view;
    if (array == NULL || PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(array);
        return NULL;
    }
    /* Nobody else has seen the array, so nobody can resize it before the call returns. */
    *data = view.buf;
    PyBuffer_Release(&view);
    return array;
}

PyObject *result_numpy(PyTypeObject *type, int32_t dtype, int ndim, const int64_t *shape, const int64_t *strides,
                       PyObject *like, void **data) {
    PyObject *array = numpy.new_from_descr(type, Py_NewRef(numpy.descr[dtype]), ndim, shape, strides, NULL, 0, like);
    if (array) *data = ((numpy_array *)array)->data;
    return array;
}

PyObject *result_new(const operand *input, int32_t dtype, const int64_t *strides, void **data) {
    const gorsqrt_array *a = &input->array;
    switch (input->container) {
        case NUMPY_ARRAY: {
            PyTypeObject *type = Py_TYPE(input->object);
            return result_numpy(type, dtype, a->ndim, a->shape, strides, type == numpy.array_type ? NULL : input->object, data);
        }
        case NUMPY_SCALAR: return result_numpy(numpy.array_type, dtype, 0, NULL, NULL, NULL, data);
        case ARRAY_ARRAY: return result_array_array(dtype, a->shape[0], data);
        default: return memory_view(dtype, a->ndim, a->shape, strides, data);
    }
}

PyObject *result_finish(const operand *input, PyObject *result) {
    if (input->container != NUMPY_SCALAR) return result;
    const numpy_array *array = (const numpy_array *)result;
    PyObject *scalar = numpy.scalar(array->data, array->descr, NULL);
    Py_DECREF(result);
    return scalar;
}

int result_install(void) {
    PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)memory_dealloc},
        {Py_bf_getbuffer, (void *)memory_getbuffer},
        {Py_tp_doc, "The memory of one result; memoryviews look into it."},
        {0, NULL},
    };
    PyType_Spec spec = {"gorsqrt._gorsqrt.Memory", sizeof(memory), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
    memory_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return memory_type ? 0 : -1;
}
