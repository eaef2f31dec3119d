/* Arrays on CUDA devices that have __cuda_array_interface__. */
#include "binding.h"

/* What gorsqrt/cupy.py knows of a cupy.ndarray beyond the interface: its dtype, since the interface has none for bfloat16, its
 * device, and the stream that it is used on now. */
static int take_cupy(operand *o) {
    PyObject *adapter = PyImport_ImportModule("gorsqrt.cupy");
    PyObject *place = adapter ? PyObject_CallMethod(adapter, "place", "O", o->object) : NULL;
    Py_XDECREF(adapter);
    PyObject *dtype;
    unsigned long long stream;
    int failed = place && PyArg_ParseTuple(place, "OiK", &dtype, &o->array.index, &stream) ? 0 : -1;
    if (!failed) {
        o->array.stream = stream;
        o->array.dtype = numpy_dtype_of(dtype);
        if (o->array.dtype == GORSQRT_DTYPES) failed = operand_name_type(o, dtype);
    }
    Py_XDECREF(place);
    return failed;
}

/* The stream of the interface's version 3. 0, or -1 with an exception set. */
static int read_stream(operand *o) {
    PyObject *stream = operand_interface_item(o, "stream");
    if (stream == NULL || stream == Py_None) return PyErr_Occurred() ? -1 : 0;
    bool const number = PyLong_Check(stream);
    o->array.stream = number ? PyLong_AsUnsignedLongLong(stream) : 0;
    if (PyErr_Occurred()) {
        PyErr_Clear();
        o->array.stream = 0;
    }
    if (o->array.stream != 0) return 0;
    PyErr_Format(PyExc_ValueError, "__cuda_array_interface__: stream must be None, 1, 2 or a stream's handle, not %R", stream);
    return -1;
}

int cuda_take(operand *o) {
    static const char name[] = "__cuda_array_interface__";
    o->array.device = CUDA;
    o->array.launches = 1;
    int const is_cupys = is_instance(o->object, "cupy", "ndarray");
    if (is_cupys == 0) return operand_take_interface(o, name, GORSQRT_DTYPES) < 0 ? -1 : read_stream(o);
    if (is_cupys < 0 || take_cupy(o) < 0) return -1;
    return o->array.dtype == GORSQRT_DTYPES ? 0 : operand_take_interface(o, name, o->array.dtype);
}

/* A result of ours: what it is, others find out by DLPack or the interface. */
typedef struct {
    PyObject_HEAD block *block;
} memory;

PyTypeObject *cuda_memory;

int cuda_take_memory(operand *o) {
    const block *const b = ((const memory *)o->object)->block; /* which the object keeps, and the caller keeps that */
    o->array.data = b->data;
    o->array.shape = b->shape;
    o->array.strides = b->strides;
    o->array.dtype = b->dtype;
    o->array.ndim = b->ndim;
    o->array.read_only = 0;
    o->array.device = CUDA;
    o->array.launches = 1;
    o->array.index = b->device;
    o->array.stream = LEGACY_STREAM;
    return 0;
}

static PyObject *memory_interface(PyObject *self, void *closure) {
    (void)closure;
    static const char *const typestr[GORSQRT_COMPUTED] = {
        [GORSQRT_F16] = "<f2", [GORSQRT_F32] = "<f4", [GORSQRT_F64] = "<f8", [GORSQRT_C64] = "<c8", [GORSQRT_C128] = "<c16"};
    const block *const b = ((const memory *)self)->block;
    if (typestr[b->dtype] == NULL) {
        PyErr_SetString(PyExc_AttributeError, "__cuda_array_interface__ has no typestr for bfloat16; DLPack has");
        return NULL;
    }
    PyObject *shape = tuple_of(b->ndim, b->shape), *strides = shape ? tuple_of(b->ndim, b->strides) : NULL, *interface = NULL;
    if (strides) {
        interface = Py_BuildValue("{sOsOsss(KO)sisi}", "shape", shape, "strides", strides, "typestr", typestr[b->dtype], "data",
                                  (unsigned long long)(uintptr_t)b->data, Py_False, "stream", LEGACY_STREAM, "version", 3);
    }
    Py_XDECREF(shape);
    Py_XDECREF(strides);
    return interface;
}

static PyObject *memory_dlpack(PyObject *self, PyObject *args, PyObject *kwargs) {
    return dlpack_export(((memory *)self)->block, args, kwargs);
}

static PyObject *memory_dlpack_device(PyObject *self, PyObject *none) {
    (void)none;
    return dlpack_device(((memory *)self)->block);
}

static void memory_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    block_drop(((memory *)self)->block);
    freefunc const release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *memory_new(const operand *input, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *const a = &input->array;
    block *b = block_new_on_device(a->index, a->data, dtype, a->ndim, a->shape, strides);
    allocfunc const allocate = (allocfunc)PyType_GetSlot(cuda_memory, Py_tp_alloc);
    memory *m = b ? (memory *)allocate(cuda_memory, 0) : NULL;
    if (m) m->block = b;
    if (b && m == NULL) block_drop(b);
    return (PyObject *)m;
}

int cuda_install(void) {
    /* Static: the type refers to them for as long as the process lives. */
    static PyMethodDef methods[] = {
        {"__dlpack__", (PyCFunction)(void (*)(void))memory_dlpack, METH_VARARGS | METH_KEYWORDS, NULL},
        {"__dlpack_device__", memory_dlpack_device, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef attributes[] = {{"__cuda_array_interface__", memory_interface, NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
    PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)memory_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {Py_tp_doc, "One result on a CUDA device: an array for who looks into it by DLPack or __cuda_array_interface__."},
        {0, NULL},
    };
    PyType_Spec spec = {"gorsqrt._gorsqrt.DeviceMemory", sizeof(memory), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
    cuda_memory = (PyTypeObject *)PyType_FromSpec(&spec);
    return cuda_memory ? 0 : -1;
}

PyObject *cuda_result(const operand *input, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *const a = &input->array;
    if (input->container == TORCH_TENSOR || input->container == TORCH_KERNEL) {
        int64_t elements[GORSQRT_MAX_NDIM];
        for (int d = 0; d < a->ndim; d++) elements[d] = strides[d] / gorsqrt_item_size[dtype];
        return torch_result(a->index, dtype, a->ndim, a->shape, elements).object;
    }
    int const is_cupys = is_instance(input->object, "cupy", "ndarray");
    if (is_cupys == 0) return memory_new(input, dtype, strides);
    PyObject *descr = is_cupys > 0 ? numpy_descr_for(dtype) : NULL;
    PyObject *adapter = descr ? PyImport_ImportModule("gorsqrt.cupy") : NULL;
    PyObject *steps = adapter ? tuple_of(a->ndim, strides) : NULL;
    PyObject *result = steps ? PyObject_CallMethod(adapter, "empty", "OOO", input->object, descr, steps) : NULL;
    Py_XDECREF(steps);
    Py_XDECREF(adapter);
    return result;
}
