/* Fresh containers for results. */
#include "binding.h"

#include <string.h>

enum { ALIGNMENT = 64 }; /* bytes: a cache line, and the widest vector */

/* The buffers' formats of the dtypes; NULL for bfloat16, which has none. */
static const char *const format[GORSQRT_COMPUTED] = {
    [GORSQRT_F16] = "e", [GORSQRT_F32] = "f", [GORSQRT_F64] = "d", [GORSQRT_C64] = "Zf", [GORSQRT_C128] = "Zd"};

/* What a resulting memoryview looks into. Owns one block: the elements, then shape and strides. The block is freed with the
 * object, which every view of it keeps alive. */
typedef struct {
    PyObject_HEAD char *block;
    int64_t *shape, *strides, bytes;
    int32_t dtype, ndim;
    bool c_contiguous, f_contiguous;
} memory;

static PyTypeObject *memory_type;

/* A memoryview asks for everything and answers whoever asks it, but its .obj hands this object to anybody. */
static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    memory *m = (memory *)self;
    bool const wants_c = (flags & PyBUF_STRIDES) != PyBUF_STRIDES || (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS;
    bool const wants_f = (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS;
    bool const wants_any = (flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS;
    if ((wants_c && !m->c_contiguous) || (wants_f && !m->f_contiguous) || (wants_any && !m->c_contiguous && !m->f_contiguous)) {
        view->obj = NULL;
        PyErr_SetString(PyExc_BufferError,
                        wants_c ? "the memory is not contiguous in C order" : "the memory is not contiguous");
        return -1;
    }
    view->obj = Py_NewRef(self);
    view->buf = m->block;
    view->len = m->bytes;
    view->itemsize = gorsqrt_item_size[m->dtype];
    view->readonly = 0;
    view->ndim = m->ndim;
    view->format = flags & PyBUF_FORMAT ? (char *)format[m->dtype] : NULL;
    view->shape = flags & PyBUF_ND ? m->shape : NULL;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? m->strides : NULL;
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
    if (format[dtype] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "rsqrt(): a memoryview can't have dtype bfloat16; give an out, or choose another default");
        return NULL;
    }
    allocfunc const allocate = (allocfunc)PyType_GetSlot(memory_type, Py_tp_alloc);
    memory *m = (memory *)allocate(memory_type, 0);
    if (m == NULL) return NULL;
    m->dtype = dtype;
    m->ndim = ndim;
    m->bytes = gorsqrt_item_size[dtype];
    m->c_contiguous = m->f_contiguous = true;
    bool fits = true, none = false;
    int64_t step = m->bytes;
    for (int d = 0; d < ndim; d++) {
        none |= shape[d] == 0;
        m->f_contiguous &= shape[d] == 1 || strides[d] == step;
        step = (int64_t)((uint64_t)step * (uint64_t)shape[d]); /* means nothing where the product is refused below */
    }
    for (int d = ndim - 1; d >= 0; d--) {
        m->c_contiguous &= shape[d] == 1 || strides[d] == m->bytes;
        fits &= !__builtin_mul_overflow(m->bytes, shape[d], &m->bytes);
    }
    if (none) {
        m->c_contiguous = m->f_contiguous = fits = true;
        m->bytes = 0;
    }
    int64_t const extra = 2 * ndim * (int64_t)sizeof *shape + ALIGNMENT;
    fits &= m->bytes <= INT64_MAX - extra;
    int64_t const elements = fits ? m->bytes / ALIGNMENT * ALIGNMENT + ALIGNMENT : 0;
    void *block;
    if (!fits || posix_memalign(&block, ALIGNMENT, (size_t)(m->bytes + extra)) != 0) {
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

/* array.array(code, [0]) per dtype, of the type that it was made by: repeating it is the way to an array of n elements without
 * a list of them. */
static struct {
    PyTypeObject *type;
    PyObject *array;
} one_element[GORSQRT_COMPUTED];

PyObject *result_array_array(int32_t dtype, int64_t n, void **data) {
    if (one_element[dtype].type != array_array_type) {
        PyObject *one = PyObject_CallFunction((PyObject *)array_array_type, "s[d]", format[dtype], 0.0);
        if (one == NULL) return NULL;
        Py_XDECREF(one_element[dtype].array);
        one_element[dtype].array = one;
        one_element[dtype].type = array_array_type;
    }
    PyObject *array = PySequence_Repeat(one_element[dtype].array, n);
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
    PyObject *descr = numpy_descr_for(dtype);
    if (descr == NULL) return NULL;
    PyObject *array = numpy.new_from_descr(type, Py_NewRef(descr), ndim, shape, strides, NULL, 0, like);
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
        case TORCH_TENSOR:
        case TORCH_KERNEL: {
            int64_t steps[GORSQRT_MAX_NDIM];
            for (int d = 0; d < a->ndim; d++) steps[d] = strides[d] / gorsqrt_item_size[dtype];
            return torch_result(dtype, a->ndim, a->shape, steps, data);
        }
        case NUMPY_SCALAR: return result_numpy(numpy.array_type, dtype, 0, NULL, NULL, NULL, data);
        case ARRAY_ARRAY:
            if ((dtype == GORSQRT_F32 || dtype == GORSQRT_F64) && a->ndim == 1)
                return result_array_array(dtype, a->shape[0], data);
            return memory_view(dtype, a->ndim, a->shape, strides, data); /* no type code for the others */
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
