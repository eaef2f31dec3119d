/* Arrays on CUDA devices that have __cuda_array_interface__. Needs gorsqrt/cupy.py for facts about
 * cupy's arrays that the interface leaves out, and memory.c for results of other libraries' arrays.
 * Nothing here reads or writes device memory. */
#include "cuda.h"
#include "dlpack.h"
#include "memory.h"
#include "numpy.h"

static const char interface[] = "__cuda_array_interface__";

/* As with other protocols the type must have the attribute. So must the object: a type may have it
 * only for its objects in CUDA memory. */
container cuda_recognise(PyObject *object) {
    int has = has_attribute((PyObject *)Py_TYPE(object), interface);
    if (has > 0) has = has_attribute(object, interface);
    int const is_cupys = has > 0 ? is_instance(object, "cupy", "ndarray") : 0;
    return has <= 0 || is_cupys < 0 ? NOT_AN_ARRAY : is_cupys ? CUPY_ARRAY : CUDA_ARRAY;
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

int cuda_take(operand *o, bool written) {
    (void)written;
    o->array.device = CUDA;
    o->array.is_open = 1;
    return operand_take_interface(o, interface, GORSQRT_DTYPES) < 0 ? -1 : read_stream(o);
}

/* Asks gorsqrt/cupy.py for three facts that the interface leaves out: the dtype (the interface has
 * none for bfloat16), the device, and the stream on which the array is used now. */
static int ask_cupy(operand *o) {
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

int cuda_take_cupy(operand *o, bool written) {
    (void)written;
    o->array.device = CUDA;
    o->array.is_open = 1;
    if (ask_cupy(o) < 0) return -1;
    return o->array.dtype == GORSQRT_DTYPES ? 0 : operand_take_interface(o, interface, o->array.dtype);
}

fresh cuda_fresh_cupy(const operand *like, int32_t dtype, const int64_t *strides) {
    PyObject *descr = numpy_descr_for(dtype);
    PyObject *adapter = descr ? PyImport_ImportModule("gorsqrt.cupy") : NULL;
    PyObject *steps = adapter ? tuple_of(like->array.ndim, strides) : NULL;
    PyObject *result = steps ? PyObject_CallMethod(adapter, "empty", "OOO", like->object, descr, steps) : NULL;
    Py_XDECREF(steps);
    Py_XDECREF(adapter);
    if (result && cuda_recognise(result) != CUPY_ARRAY) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "rsqrt(): the allocator of 'input' gives no array");
        Py_CLEAR(result);
    }
    return fresh_of(result, NULL);
}

PyObject *cuda_finish(const operand *input, PyObject *result) {
    int const has = has_attribute((PyObject *)Py_TYPE(input->object), "__array_namespace__");
    if (has > 0) return dlpack_to_namespace(input, result);
    if (has < 0) Py_CLEAR(result);
    return result;
}
