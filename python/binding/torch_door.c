/* Reading and writing torch's tensors, without torch at build time or at import. Needs torch's
 * shared libraries, which the program has loaded, and gorsqrt/_torch_door.py.
 *
 * An ordinary tensor is read and written directly, by torch's own C functions. A tensor is ordinary
 * if torch has nothing to do but the arithmetic:
 *
 * - its class is exactly Tensor or Parameter;
 * - it is strided, in the CPU's memory or a CUDA device's;
 * - it has no gradient to record;
 * - no mode, transform, trace or dual level is active.
 *
 * The package gorsqrt/torch and torch's dispatcher handle all other tensors.
 *
 * Two sets of dispatch keys tell most of this: one word of the tensor and two words of the thread.
 * A tensor's keys tell its kind: conjugated, meta, sparse, a wrapper, made in inference mode, and
 * so on. The thread's keys tell its state: dispatch modes, functorch's transforms, tracing,
 * autocast, inference mode. gorsqrt/_torch_door.py finds out from the installed torch which keys
 * ordinary tensors have, and where a tensor keeps them. Once it has, the door is open. Until then
 * no tensor is ordinary. */
#include "torch_door.h"
#include "layout.h"

#include <dlfcn.h>
#include <string.h>

static const struct {
    void *place;
    const char *name;
    bool optional;
} functions[] = {
    {&torch.call.cpu, "aoti_torch_device_type_cpu", false},
    {&torch.call.cuda, "aoti_torch_device_type_cuda", false},
    {&torch.call.strided, "aoti_torch_layout_strided", false},
    {&torch.call.get_dim, "aoti_torch_get_dim", false},
    {&torch.call.get_sizes, "aoti_torch_get_sizes", false},
    {&torch.call.get_strides, "aoti_torch_get_strides", false},
    {&torch.call.get_numel, "aoti_torch_get_numel", false},
    {&torch.call.get_dtype, "aoti_torch_get_dtype", false},
    {&torch.call.get_layout, "aoti_torch_get_layout", true},
    {&torch.call.get_device_type, "aoti_torch_get_device_type", false},
    {&torch.call.get_device_index, "aoti_torch_get_device_index", false},
    {&torch.call.get_data, "aoti_torch_get_data_ptr", false},
    {&torch.call.grad_mode, "aoti_torch_grad_mode_is_enabled", false},
    {&torch.call.function_modes, "_ZN2at4impl22PythonTorchFunctionTLS9stack_lenEv", false},
    {&torch.call.requires_grad, "_ZNK3c1010TensorImpl13requires_gradEv", false},
    {&torch.call.bump_version, "_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE", false},
    {&torch.call.empty_strided, "aoti_torch_empty_strided", false},
    {&torch.call.delete_tensor, "aoti_torch_delete_tensor_object", false},
    {&torch.call.get_const_data, "torch_get_const_data_ptr", true},
    {&torch.call.autograd_meta, "_ZNK3c1010TensorImpl13autograd_metaEv", true},
    {&torch.call.to_pyobject, "torch_tensor_to_pyobject", true},
};

/* The dtypes by torch's names: torch's number of each, the functions that tell the numbers, and
 * torch's objects for the dtypes that are computed. */
static const char *const dtype_name[GORSQRT_DTYPES] = {
    [GORSQRT_F16] = "float16",   [GORSQRT_BF16] = "bfloat16",   [GORSQRT_F32] = "float32", [GORSQRT_F64] = "float64",
    [GORSQRT_C64] = "complex64", [GORSQRT_C128] = "complex128", [GORSQRT_BOOL] = "bool",   [GORSQRT_I8] = "int8",
    [GORSQRT_U8] = "uint8",      [GORSQRT_I16] = "int16",       [GORSQRT_U16] = "uint16",  [GORSQRT_I32] = "int32",
    [GORSQRT_U32] = "uint32",    [GORSQRT_I64] = "int64",       [GORSQRT_U64] = "uint64",
};
enum { NUMBERS = 64 }; /* torch has some 48 dtypes */
static int8_t dtype_of[NUMBERS];

/* What gorsqrt/_torch_door.py has found out. The fields are valid only if `open`. */
static struct {
    bool open, shut;                  /* shut: this torch is unknown, and the ops of gorsqrt.torch serve all tensors */
    Py_ssize_t tensor_at, keys_at;    /* bytes from a Python object to its at::Tensor, and from a TensorImpl to its keys */
    uint64_t keys, inference_keys;    /* of an ordinary tensor, and of a tensor made in inference mode */
    uint64_t inference[2];            /* the thread's two words in inference mode; otherwise both are 0 */
    uint64_t autocast, autocast_cuda; /* the bits of the second word that autocast sets, for any device and for CUDA devices */
    bool cuda_open;                   /* whether the next two are known: that takes a tensor on a CUDA device */
    uint64_t cuda_keys, cuda_inference_keys;
    uint64_t conj_keys;                /* of a complex tensor that is the conjugate of its memory */
    PyObject *level_dict, *level_name; /* where torch.autograd.forward_ad keeps its level; -1 if none is active */
} door;

torch_here torch;
static PyObject *name_cdata;

PyTypeObject *torch_tensor, *torch_parameter;

/* libtorch_cpu.so, through which libc10's names are found too, and libc10.so. They are never
 * unloaded. */
static void *library, *c10;

/* Two words of the calling thread: c10's thread-local raw_local_dispatch_key_set. dlsym gives the
 * variable's address in the calling thread, which is valid while the thread lives. */
static const uint64_t *thread_keys(void) {
    static _Thread_local const uint64_t *keys;
    if (keys == NULL) keys = dlsym(c10, "_ZN3c104impl26raw_local_dispatch_key_setE");
    return keys;
}

/* A library that torch has loaded; NULL if there is none of this name. */
static void *loaded(const char *name) {
    return dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
}

/* Finds torch's functions and its numbers of the dtypes. 1; 0 if this torch lacks a needed
 * function; -1 with an exception set. */
static int find_functions(void) {
    library = loaded("libtorch_cpu.so");
    c10 = loaded("libc10.so");
    bool found = library && c10;
    for (size_t i = 0; found && i < sizeof functions / sizeof *functions; i++) {
        void *const function = dlsym(library, functions[i].name);
        memcpy(functions[i].place, &function, sizeof function);
        found = function || functions[i].optional;
    }
    if (!found) return 0;
    void *const on_cuda = loaded("libtorch_cuda.so");
    void *const current_stream = on_cuda ? dlsym(on_cuda, "aoti_torch_get_current_cuda_stream") : NULL;
    memcpy(&torch.call.current_stream, &current_stream, sizeof current_stream);
    torch.cpu = torch.call.cpu();
    torch.cuda = torch.call.cuda();
    torch.strided = torch.call.strided();
    memset(dtype_of, GORSQRT_DTYPES, sizeof dtype_of);
    for (int t = 0; t < GORSQRT_DTYPES; t++) {
        char name[40] = "aoti_torch_dtype_";
        int32_t (*const number)(void) = (int32_t (*)(void))dlsym(library, strcat(name, dtype_name[t]));
        if (number == NULL) continue; /* a dtype that this torch lacks */
        torch.number_of[t] = number();
        if (torch.number_of[t] >= 0 && torch.number_of[t] < NUMBERS) dtype_of[torch.number_of[t]] = (int8_t)t;
        if (t < GORSQRT_COMPUTED && torch.dtype[t] == NULL) torch.dtype[t] = imported("torch", dtype_name[t]);
        if (PyErr_Occurred()) return -1;
    }
    return 1;
}

/* Finds torch, once its import is complete. 1; 0 if torch is not imported; -1 with an exception
 * set. */
static int find(void) {
    PyObject *tensor = imported("torch", "Tensor"), *parameter = NULL;
    if (tensor) parameter = imported("torch.nn.parameter", "Parameter");
    if (parameter && torch.get_default_dtype == NULL) torch.get_default_dtype = imported("torch", "get_default_dtype");
    if (torch.get_default_dtype && torch.empty_strided == NULL) torch.empty_strided = imported("torch", "empty_strided");
    int found = PyErr_Occurred() ? -1 : parameter && torch.get_default_dtype && torch.empty_strided;
    /* In a forked child the loader may be unusable for good. If go_ask answers, the loader can be
     * used. */
    if (found == 1 && go_ask() == NULL) found = -1;
    int const functions_found = found == 1 ? find_functions() : 0;
    if (functions_found < 0) found = -1;
    if (found == 1) {
        torch.known = functions_found;
        torch_parameter = (PyTypeObject *)parameter;
        torch_tensor = (PyTypeObject *)tensor;
        return 1;
    }
    Py_XDECREF(tensor);
    Py_XDECREF(parameter);
    return found;
}

int torch_is_tensor(PyTypeObject *type) {
    int const found = torch_tensor ? 1 : find();
    return found <= 0 ? found : PyType_IsSubtype(type, torch_tensor);
}

void *torch_symbol(const char *name) {
    return library ? dlsym(library, name) : NULL;
}

/* torch owns the arrays. They are valid while the tensor lives and its shape is not changed: while
 * the GIL is held without interruption. */
WITHOUT_CANARY bool torch_look_at(torch_look *t, torch_handle tensor, bool written) {
    int32_t number;
    if (torch.call.get_dim(tensor, &t->ndim) || torch.call.get_sizes(tensor, &t->shape) ||
        torch.call.get_strides(tensor, &t->strides) || torch.call.get_numel(tensor, &t->n) ||
        torch.call.get_dtype(tensor, &number))
        return false;
    t->dtype = number >= 0 && number < NUMBERS ? dtype_of[number] : GORSQRT_DTYPES;
    /* The memory is the storage's, which the tensor owns. Another thread that resizes it meanwhile
     * is in error, as with torch's own functions. A request for writable memory ends a
     * copy-on-write. */
    if (written || torch.call.get_const_data == NULL) return torch.call.get_data(tensor, &t->data) == 0;
    return torch.call.get_const_data(tensor, (const void **)&t->data) == 0;
}

WITHOUT_CANARY bool torch_is_contiguous(const torch_look *t) {
    return t->n == 0 || layout_is_c_order(t->ndim, t->shape, t->strides, 1);
}

/* The state of a tensor. */

bool torch_find_out(const char *which, PyObject *tensor) {
    PyObject *module = PyImport_ImportModule("gorsqrt._torch_door");
    PyObject *done = module ? PyObject_CallMethod(module, which, tensor ? "O" : NULL, tensor) : NULL;
    bool const unlike = done == NULL && PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError) &&
                        !PyErr_ExceptionMatches(PyExc_RecursionError);
    if (unlike) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(module);
    return !unlike;
}

static void open_door(const char *which, PyObject *tensor) {
    if (!torch_find_out(which, tensor)) door.shut = true;
}

torch_handle torch_handle_of(PyObject *object) {
    return (char *)object + door.tensor_at;
}

void *torch_impl_of(PyObject *object) {
    void *impl;
    if (door.open) {
        memcpy(&impl, torch_handle_of(object), sizeof impl);
        return impl;
    }
    PyObject *cdata = PyObject_GetAttr(object, name_cdata);
    impl = cdata ? PyLong_AsVoidPtr(cdata) : NULL;
    Py_XDECREF(cdata);
    return impl;
}

/* A tensor's TensorImpl, while the door is open. The object owns it while the object lives, and the
 * caller keeps the object alive. */
static const void *impl_of(PyObject *object) {
    return *(const void *const *)torch_handle_of(object);
}

/* A tensor's dispatch keys. */
static uint64_t keys_of(PyObject *object) {
    uint64_t keys;
    memcpy(&keys, (const char *)impl_of(object) + door.keys_at, sizeof keys);
    return keys;
}

/* Whether a tensor with these keys is ordinary and on a CUDA device. False also with an exception
 * set. */
static bool is_strided_on_cuda(PyObject *object, uint64_t keys, bool written, bool inference) {
    if (torch.call.current_stream == NULL || (thread_keys()[1] & door.autocast_cuda)) return false;
    if (!door.cuda_open) {
        int32_t device;
        if (!door.shut && torch.call.get_device_type(torch_handle_of(object), &device) == 0 && device == torch.cuda)
            open_door("open_cuda", object);
        if (!door.cuda_open) return false;
    }
    return keys == door.cuda_keys || (keys == door.cuda_inference_keys && (!written || inference));
}

/* Whether a tensor is strided, in the CPU's memory or a CUDA device's, and no wrapper, view of
 * another kind or the like. False also with an exception set. */
static bool is_strided(PyObject *object, bool written, bool inference, bool *on_cuda) {
    uint64_t const keys = keys_of(object);
    *on_cuda = keys != door.keys && keys != door.inference_keys;
    return *on_cuda ? is_strided_on_cuda(object, keys, written, inference) : keys == door.keys || !written || inference;
}

/* Whether no mode, transform or trace is active in this thread; *inference says whether inference
 * mode is. False also with an exception set. */
static bool is_quiet(bool *inference) {
    if (!door.open) {
        if (torch.known && !door.shut) open_door("open_door", NULL);
        if (!door.open) return false;
    }
    const uint64_t *const keys = thread_keys();
    uint64_t const included = keys[0], excluded = keys[1] & ~door.autocast;
    *inference = included == door.inference[0] && excluded == door.inference[1];
    return ((included | excluded) == 0 || *inference) && torch.call.function_modes() == 0;
}

/* Whether autograd keeps data for a tensor. Without that data it has neither a gradient to record
 * nor a tangent. */
static bool has_meta(PyObject *object) {
    return torch.call.autograd_meta == NULL || torch.call.autograd_meta(impl_of(object)) != NULL;
}

/* Whether a tensor may have a tangent: a dual level is active, and autograd keeps data for the
 * tensor. */
static bool is_dual(PyObject *object) {
    if (!has_meta(object)) return false;
    PyObject *level = PyDict_GetItemWithError(door.level_dict, door.level_name); /* borrowed */
    bool const dual = level == NULL || PyLong_AsLong(level) != -1;
    if (dual) PyErr_Clear();
    return dual;
}

bool torch_is_recorded(PyObject *object) {
    return has_meta(object) && torch.call.grad_mode() && torch.call.requires_grad(impl_of(object));
}

static inline bool is_exact(PyObject *object) {
    return Py_IS_TYPE(object, torch_tensor) || Py_IS_TYPE(object, torch_parameter);
}

WITHOUT_CANARY torch_state torch_state_of(PyObject *object, bool written, bool *on_cuda) {
    bool inference;
    *on_cuda = false;
    if (!is_quiet(&inference) || is_dual(object)) return TORCH_OTHER;
    if (is_strided(object, written, inference, on_cuda)) {
        if (!is_exact(object)) return TORCH_SUBCLASS;
        return torch_is_recorded(object) ? TORCH_RECORDED : TORCH_ORDINARY;
    }
    bool const conjugate = !PyErr_Occurred() && !written && is_exact(object) && keys_of(object) == door.conj_keys;
    return conjugate ? TORCH_CONJUGATE : TORCH_OTHER;
}

WITHOUT_CANARY bool torch_is_ordinary(PyObject *object, bool written, torch_look *t) {
    return is_exact(object) && torch_state_of(object, written, &t->on_cuda) == TORCH_ORDINARY &&
           torch_is_readable(object, written, t);
}

WITHOUT_CANARY bool torch_is_readable(PyObject *object, bool written, torch_look *t) {
    return torch_look_at(t, torch_handle_of(object), written) && t->dtype != GORSQRT_DTYPES && (t->data || t->n == 0);
}

bool torch_is_strided(PyObject *object) {
    bool on_cuda;
    return is_strided(object, true, true, &on_cuda) && !on_cuda;
}

WITHOUT_CANARY void torch_count_write(PyObject *object) {
    uint64_t const keys = keys_of(object);
    bool const inference = keys == door.inference_keys || (door.cuda_open && keys == door.cuda_inference_keys);
    if (!inference) torch.call.bump_version(torch_handle_of(object)); /* tensors made in inference mode have no version */
}

/* For gorsqrt/_torch_door.py and gorsqrt/torch. */

static PyObject *thread_keys_py(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    const uint64_t *const keys = c10 ? thread_keys() : NULL;
    if (keys == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "gorsqrt: this torch does not show what is active in a thread");
        return NULL;
    }
    return Py_BuildValue("KK", (unsigned long long)keys[0], (unsigned long long)keys[1]);
}

static PyObject *open_py(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long keys, conj_keys, inference_keys, inference[2], autocast, autocast_cuda;
    if (!PyArg_ParseTuple(args, "nnKKK(KK)KKO!(OO)OOO", &door.tensor_at, &door.keys_at, &keys, &conj_keys, &inference_keys,
                          &inference[0], &inference[1], &autocast, &autocast_cuda, &PyDict_Type, &door.level_dict,
                          &torch.rsqrt[0], &torch.rsqrt[1], &torch.saved_hooks, &torch.function, &torch.no_function))
        return NULL;
    door.keys = keys;
    door.conj_keys = conj_keys;
    door.inference_keys = inference_keys;
    door.inference[0] = inference[0];
    door.inference[1] = inference[1];
    door.autocast = autocast | autocast_cuda;
    door.autocast_cuda = autocast_cuda;
    /* Held until the process ends, like everything else here. */
    Py_INCREF(door.level_dict);
    Py_INCREF(torch.rsqrt[0]);
    Py_INCREF(torch.rsqrt[1]);
    Py_INCREF(torch.saved_hooks);
    Py_INCREF(torch.function);
    Py_INCREF(torch.no_function);
    door.open = true;
    Py_RETURN_NONE;
}

static PyObject *open_cuda_py(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long keys, inference_keys;
    if (!PyArg_ParseTuple(args, "KK", &keys, &inference_keys)) return NULL;
    door.cuda_keys = keys;
    door.cuda_inference_keys = inference_keys;
    door.cuda_open = true;
    Py_RETURN_NONE;
}

static PyObject *is_plain_py(PyObject *module, PyObject *tensor) {
    (void)module;
    bool on_cuda;
    torch_state const state = is_exact(tensor) ? torch_state_of(tensor, false, &on_cuda) : TORCH_OTHER;
    return PyErr_Occurred() ? NULL : PyBool_FromLong(state == TORCH_ORDINARY || state == TORCH_RECORDED);
}

/* How tensors are reached now. Asking opens the door, if it can be opened now. */
static PyObject *door_py(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    if (torch_is_tensor(&PyBaseObject_Type) < 0) return NULL;
    if (torch_tensor == NULL) return PyUnicode_FromString("no torch yet");
    if (torch.known && !door.open && !door.shut) open_door("open_door", NULL);
    return PyErr_Occurred() ? NULL : PyUnicode_FromString(door.open ? "fast" : "by ops");
}

int torch_door_install(PyObject *module) {
    /* Static: the functions refer to it until the process ends. */
    static PyMethodDef methods[] = {
        {"torch_thread_keys", thread_keys_py, METH_NOARGS, "torch's dispatch keys of this thread: (included, excluded)."},
        {"torch_open", open_py, METH_VARARGS, "Lets ordinary tensors be read and written directly."},
        {"torch_open_cuda", open_cuda_py, METH_VARARGS, "And those on CUDA devices."},
        {"torch_door", door_py, METH_NOARGS, "How torch's tensors are reached: 'fast', 'by ops', or 'no torch yet'."},
        {"torch_is_plain", is_plain_py, METH_O, "Whether a tensor is ordinary but for a gradient to record, perhaps."},
        {NULL, NULL, 0, NULL},
    };
    name_cdata = PyUnicode_InternFromString("_cdata");
    door.level_name = PyUnicode_InternFromString("_current_level");
    return name_cdata && door.level_name ? PyModule_AddFunctions(module, methods) : -1;
}
