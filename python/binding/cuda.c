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
        o->array.dtype = numpy_dtype(dtype);
        PyObject *strides = PyDict_GetItemString(o->owned, "strides");
        if (o->array.dtype != GORSQRT_DTYPES) {
            if ((strides == NULL || strides == Py_None) && !operand_c_order(o, gorsqrt_item_size[o->array.dtype])) {
                PyErr_SetString(PyExc_ValueError, "__cuda_array_interface__: the shape is too large");
                failed = -1;
            }
        } else {
            Py_CLEAR(o->owned); /* the dict, which has the type's name as a typestr */
            failed = operand_name_type(o, dtype);
        }
    }
    Py_XDECREF(place);
    return failed;
}

/* The stream of the interface's version 3. 0, or -1 with an exception set. */
static int read_stream(operand *o) {
    PyObject *stream = PyDict_GetItemString(o->owned, "stream");
    if (stream == NULL || stream == Py_None) return 0;
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
    o->array.device = CUDA;
    o->array.launches = 1;
    if (operand_take_interface(o, "__cuda_array_interface__") < 0) return -1;
    enum { PAGE = 4096 }; /* Go ends a process that holds a pointer into the first one */
    if (o->array.data && (uintptr_t)o->array.data < PAGE) {
        PyErr_Format(PyExc_ValueError, "__cuda_array_interface__: %p is no address of device memory", o->array.data);
        return -1;
    }
    return is_instance(o->object, "cupy", "ndarray") ? take_cupy(o) : read_stream(o);
}

PyObject *cuda_no_result(const char *function, PyObject *input) {
    PyErr_Format(PyExc_RuntimeError,
                 "%s(): argument 'input' is on a CUDA device, where gorsqrt makes fresh arrays of cupy's and torch's and no "
                 "%R; give an out",
                 function, (PyObject *)Py_TYPE(input));
    return NULL;
}

PyObject *cuda_result(const char *function, const operand *input, int32_t dtype, const int64_t *strides) {
    const gorsqrt_array *const a = &input->array;
    if (input->container == TORCH_TENSOR || input->container == TORCH_KERNEL) {
        int64_t elements[GORSQRT_MAX_NDIM];
        void *data;
        for (int d = 0; d < a->ndim; d++) elements[d] = strides[d] / gorsqrt_item_size[dtype];
        return torch_result(a->index, dtype, a->ndim, a->shape, elements, &data);
    }
    if (!is_instance(input->object, "cupy", "ndarray")) return cuda_no_result(function, input->object);
    PyObject *descr = numpy_descr_for(dtype);
    PyObject *adapter = descr ? PyImport_ImportModule("gorsqrt.cupy") : NULL;
    PyObject *steps = adapter ? PyTuple_New(a->ndim) : NULL;
    PyObject *result = NULL;
    for (int d = 0; steps && d < a->ndim; d++) PyTuple_SetItem(steps, d, PyLong_FromLongLong(strides[d]));
    if (steps && !PyErr_Occurred()) result = PyObject_CallMethod(adapter, "empty", "OOO", input->object, descr, steps);
    Py_XDECREF(steps);
    Py_XDECREF(adapter);
    return result;
}
