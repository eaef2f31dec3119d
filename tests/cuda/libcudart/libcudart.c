/* A test double of libcudart.so. With it torch makes tensors on the devices of the double of
 * libcuda.so.1: each function of the runtime calls one or a few of the driver, so streams, events,
 * graphs and memory are the driver's. It keeps the device and the last error of each thread, and
 * the names of the kernels that libraries register.
 *
 * Those kernels are machine code and can't run. A launch of one, and a call of a function that is
 * missing here, is refused, and its name is written to stderr. Built against the headers of the
 * runtime that it stands for, 12 or 13. */
#include "../../../cuda/include/cuda.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define API __attribute__((visibility("default")))

enum { DEVICES = 8 };

/* Declarations that the project's cuda.h leaves out. */
CUresult cuDeviceGetDefaultMemPool(cudaMemPool_t *pool, CUdevice device);
CUresult cuMemPoolGetAttribute(cudaMemPool_t pool, int attribute, void *value);
CUresult cuMemPoolSetAttribute(cudaMemPool_t pool, int attribute, void *value);
CUresult cuMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);
CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned int flags);
CUresult cuMemHostRegister_v2(void *memory, size_t bytes, unsigned int flags);
CUresult cuMemHostUnregister(void *memory);
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data);
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status);
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode);
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                   const CUgraphNode **dependencies, size_t *count);
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);

static __thread int thread_device;
static __thread cudaError_t last_error;

/* The runtime's errors have the driver's numbers. */
static cudaError_t answer(CUresult result) {
    if (result != CUDA_SUCCESS) last_error = (cudaError_t)result;
    return (cudaError_t)result;
}

static cudaError_t refuse(const char *what, const char *why, CUresult error) {
    fprintf(stderr, "The double of libcudart.so has no %s%s.\n", what, why);
    return answer(error);
}

#define TRY(call)                                                                                                              \
    do {                                                                                                                       \
        CUresult const failed = (call);                                                                                        \
        if (failed) return answer(failed);                                                                                     \
    } while (0)

#define DEVICE_ADDRESS(pointer) ((CUdeviceptr)(uintptr_t)(pointer))

/* Devices. The current device is the device of the driver's current context, or else the one that
 * the thread has set. */

static CUresult primary(int device, CUcontext *context) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static CUcontext retained[DEVICES];
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&mutex);
    if (retained[device] == NULL) result = cuDevicePrimaryCtxRetain(&retained[device], device);
    *context = retained[device];
    pthread_mutex_unlock(&mutex);
    return result;
}

static CUresult use(int device) {
    CUcontext context;
    CUresult const result = primary(device, &context);
    return result ? result : cuCtxSetCurrent(context);
}

/* Every call except pure queries begins with this: it initialises the driver and makes a context
 * current. */
static CUresult ready(void) {
    CUresult const result = cuInit(0);
    if (result) return result;
    CUcontext context;
    CUresult const found = cuCtxGetCurrent(&context);
    return found || context ? found : use(thread_device);
}

API cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    TRY(cuInit(0));
    return answer(cuDeviceGetCount(count));
}

API cudaError_t cudaGetDevice(int *device) {
    *device = thread_device;
    TRY(cuInit(0));
    CUcontext context;
    TRY(cuCtxGetCurrent(&context));
    if (context) TRY(cuCtxGetDevice(device));
    return cudaSuccess;
}

API cudaError_t cudaSetDevice(int device) {
    int count;
    TRY(cuInit(0));
    TRY(cuDeviceGetCount(&count));
    if (device < 0 || device >= count) return answer(CUDA_ERROR_INVALID_DEVICE);
    thread_device = device;
    return answer(use(device));
}

API cudaError_t cudaDeviceSynchronize(void) {
    TRY(ready());
    return answer(cuCtxSynchronize());
}

API cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    TRY(cuInit(0));
    return answer(cuDeviceGetAttribute(value, (CUdevice_attribute)attribute, device));
}

API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    memset(properties, 0, sizeof *properties);
    TRY(cuInit(0));
    TRY(cuDeviceGetName(properties->name, sizeof properties->name, device));
    TRY(cuDeviceTotalMem(&properties->totalGlobalMem, device));
    struct {
        int *field;
        CUdevice_attribute attribute;
    } const fields[] = {
        {&properties->major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
        {&properties->minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
        {&properties->multiProcessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
        {&properties->warpSize, CU_DEVICE_ATTRIBUTE_WARP_SIZE},
        {&properties->maxThreadsPerBlock, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK},
        {&properties->maxThreadsPerMultiProcessor, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR},
        {&properties->maxThreadsDim[0], CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X},
        {&properties->maxThreadsDim[1], CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y},
        {&properties->maxThreadsDim[2], CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z},
        {&properties->maxGridSize[0], CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X},
        {&properties->maxGridSize[1], CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y},
        {&properties->maxGridSize[2], CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z},
        {&properties->regsPerBlock, CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK},
        {&properties->unifiedAddressing, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        TRY(cuDeviceGetAttribute(fields[i].field, fields[i].attribute, device));
    }
    int shared;
    TRY(cuDeviceGetAttribute(&shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, device));
    properties->sharedMemPerBlock = (size_t)shared;
    return cudaSuccess;
}

API cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device) {
    int value;
    TRY(cuInit(0));
    TRY(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, device));
    snprintf(id, (size_t)length, "0000:%02x:00.0", value + device);
    return cudaSuccess;
}

API cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    TRY(ready());
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

/* A device can only copy another device's memory: its kernels don't see it. */
API cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    (void)device, (void)peer;
    *can = 0;
    TRY(cuInit(0));
    return cudaSuccess;
}

API cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int flags) {
    (void)peer, (void)flags;
    return answer(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
}

API cudaError_t cudaDriverGetVersion(int *version) {
    return answer(cuDriverGetVersion(version));
}

API cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* A function of the driver, by its name without the version. */
static cudaError_t entry_point(const char *name, void **function, enum cudaDriverEntryPointQueryResult *status) {
    char versioned[128];
    snprintf(versioned, sizeof versioned, "%s_v2", name);
    void *const driver = dlopen("libcuda.so.1", RTLD_NOW);
    *function = dlsym(driver, versioned);
    if (*function == NULL) *function = dlsym(driver, name);
    if (status) *status = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return *function ? cudaSuccess : refuse(name, "", CUDA_ERROR_NOT_FOUND);
}

API cudaError_t cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long flags,
                                        enum cudaDriverEntryPointQueryResult *status) {
    (void)flags;
    return entry_point(name, function, status);
}

#if CUDART_VERSION >= 12050
API cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned int version,
                                                 unsigned long long flags, enum cudaDriverEntryPointQueryResult *status) {
    (void)version, (void)flags;
    return entry_point(name, function, status);
}
#endif

/* Memory. */

API cudaError_t cudaMalloc(void **memory, size_t bytes) {
    *memory = NULL;
    TRY(ready());
    if (bytes == 0) return cudaSuccess;
    CUdeviceptr address;
    TRY(cuMemAlloc(&address, bytes));
    *memory = (void *)(uintptr_t)address;
    return cudaSuccess;
}

API cudaError_t cudaFree(void *memory) {
    TRY(ready());
    return memory ? answer(cuMemFree(DEVICE_ADDRESS(memory))) : cudaSuccess;
}

API cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream) {
    *memory = NULL;
    TRY(ready());
    if (bytes == 0) return cudaSuccess;
    CUdeviceptr address;
    TRY(cuMemAllocAsync(&address, bytes, stream));
    *memory = (void *)(uintptr_t)address;
    return cudaSuccess;
}

API cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream) {
    TRY(ready());
    return memory ? answer(cuMemFreeAsync(DEVICE_ADDRESS(memory), stream)) : cudaSuccess;
}

API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
    TRY(ready());
    return answer(cuDeviceGetDefaultMemPool(pool, device));
}

API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
    return answer(cuMemPoolGetAttribute(pool, (int)attribute, value));
}

API cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value) {
    return answer(cuMemPoolSetAttribute(pool, (int)attribute, value));
}

API cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes) {
    return answer(cuMemPoolTrimTo(pool, bytes));
}

API cudaError_t cudaMemGetInfo(size_t *unused, size_t *total) {
    TRY(ready());
    return answer(cuMemGetInfo(unused, total));
}

API cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned int flags) {
    *memory = NULL;
    TRY(ready());
    return bytes ? answer(cuMemHostAlloc(memory, bytes, flags)) : cudaSuccess;
}

API cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    return cudaHostAlloc(memory, bytes, 0);
}

API cudaError_t cudaFreeHost(void *memory) {
    TRY(ready());
    return memory ? answer(cuMemFreeHost(memory)) : cudaSuccess;
}

API cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned int flags) {
    TRY(ready());
    return answer(cuMemHostRegister_v2(memory, bytes, flags));
}

API cudaError_t cudaHostUnregister(void *memory) {
    TRY(ready());
    return answer(cuMemHostUnregister(memory));
}

API cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned int flags) {
    (void)flags;
    TRY(ready());
    *device = host;
    return cudaSuccess;
}

/* The device on which the memory is; -1 for the CPU's memory. */
static int device_of(const void *memory) {
    unsigned type;
    int device;
    CUdeviceptr const address = DEVICE_ADDRESS(memory);
    if (cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) || type != CU_MEMORYTYPE_DEVICE) return -1;
    return cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address) ? -1 : device;
}

API cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *memory) {
    TRY(ready());
    *attributes = (struct cudaPointerAttributes){.type = cudaMemoryTypeUnregistered, .device = -2};
    unsigned type;
    if (cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, DEVICE_ADDRESS(memory))) return cudaSuccess;
    bool const on_device = type == CU_MEMORYTYPE_DEVICE;
    attributes->type = on_device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    attributes->device = on_device ? device_of(memory) : 0;
    attributes->devicePointer = (void *)(uintptr_t)memory;
    attributes->hostPointer = on_device ? NULL : attributes->devicePointer;
    return cudaSuccess;
}

/* Whether the memory is where the caller says it is. */
static bool is_kind(const void *dst, const void *src, enum cudaMemcpyKind kind) {
    bool const to = device_of(dst) >= 0, from = device_of(src) >= 0;
    switch (kind) {
        case cudaMemcpyHostToHost: return !to && !from;
        case cudaMemcpyHostToDevice: return to && !from;
        case cudaMemcpyDeviceToHost: return !to && from;
        case cudaMemcpyDeviceToDevice: return to && from;
        default: return kind == cudaMemcpyDefault;
    }
}

API cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind) {
    TRY(ready());
    if (bytes == 0) return cudaSuccess;
    if (!is_kind(dst, src, kind)) return answer(CUDA_ERROR_INVALID_VALUE);
    return answer(cuMemcpy(DEVICE_ADDRESS(dst), DEVICE_ADDRESS(src), bytes));
}

API cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    TRY(ready());
    if (bytes == 0) return cudaSuccess;
    if (!is_kind(dst, src, kind)) return answer(CUDA_ERROR_INVALID_VALUE);
    return answer(cuMemcpyAsync(DEVICE_ADDRESS(dst), DEVICE_ADDRESS(src), bytes, stream));
}

API cudaError_t cudaMemcpyPeerAsync(void *dst, int dst_device, const void *src, int src_device, size_t bytes,
                                    cudaStream_t stream) {
    TRY(ready());
    if (bytes == 0) return cudaSuccess;
    if (device_of(dst) != dst_device || device_of(src) != src_device) return answer(CUDA_ERROR_INVALID_VALUE);
    return answer(cuMemcpyAsync(DEVICE_ADDRESS(dst), DEVICE_ADDRESS(src), bytes, stream));
}

API cudaError_t cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height,
                                  enum cudaMemcpyKind kind, cudaStream_t stream) {
    for (size_t row = 0; row < height; row++) {
        cudaError_t const failed =
            cudaMemcpyAsync((char *)dst + row * dst_pitch, (const char *)src + row * src_pitch, width, kind, stream);
        if (failed) return failed;
    }
    return cudaSuccess;
}

API cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    TRY(ready());
    return bytes ? answer(cuMemsetD8Async(DEVICE_ADDRESS(memory), (unsigned char)value, bytes, stream)) : cudaSuccess;
}

API cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    return cudaMemsetAsync(memory, value, bytes, NULL);
}

/* Streams and events. */

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int priority) {
    TRY(ready());
    return answer(cuStreamCreateWithPriority(stream, flags, priority));
}

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

API cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithPriority(stream, 0, 0);
}

API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    TRY(ready());
    return answer(cuStreamDestroy(stream));
}

API cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    TRY(ready());
    return answer(cuStreamGetPriority(stream, priority));
}

API cudaError_t cudaStreamQuery(cudaStream_t stream) {
    TRY(ready());
    return answer(cuStreamQuery(stream));
}

API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    TRY(ready());
    return answer(cuStreamSynchronize(stream));
}

API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
    TRY(ready());
    return answer(cuStreamWaitEvent(stream, event, flags));
}

API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    TRY(ready());
    return answer(cuLaunchHostFunc(stream, function, data));
}

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    TRY(ready());
    return answer(cuEventCreate(event, flags));
}

API cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, 0);
}

API cudaError_t cudaEventDestroy(cudaEvent_t event) {
    TRY(ready());
    return answer(cuEventDestroy(event));
}

API cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags) {
    if (flags) return refuse("event that a graph records for others", "", CUDA_ERROR_NOT_SUPPORTED);
    TRY(ready());
    return answer(cuEventRecord(event, stream));
}

API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}

API cudaError_t cudaEventQuery(cudaEvent_t event) {
    TRY(ready());
    return answer(cuEventQuery(event));
}

API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    TRY(ready());
    return answer(cuEventSynchronize(event));
}

API cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    TRY(ready());
    return answer(cuEventElapsedTime(milliseconds, start, end));
}

/* Captures and graphs. */

API cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    TRY(ready());
    CUstreamCaptureMode swapped = (CUstreamCaptureMode)*mode;
    CUresult const result = cuThreadExchangeStreamCaptureMode(&swapped);
    *mode = (enum cudaStreamCaptureMode)swapped;
    return answer(result);
}

API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    TRY(ready());
    return answer(cuStreamBeginCapture_v2(stream, (CUstreamCaptureMode)mode));
}

API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    TRY(ready());
    return answer(cuStreamEndCapture(stream, graph));
}

API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    TRY(ready());
    return answer(cuStreamIsCapturing(stream, (CUstreamCaptureStatus *)status));
}

static cudaError_t capture_info(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                cudaGraph_t *graph, const cudaGraphNode_t **dependencies, size_t *count) {
    TRY(ready());
    cuuint64_t number = 0;
    CUresult const result =
        cuStreamGetCaptureInfo_v2(stream, (CUstreamCaptureStatus *)status, &number, graph, dependencies, count);
    if (id) *id = number;
    return answer(result);
}

#if CUDART_VERSION >= 13000
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                         cudaGraph_t *graph, const cudaGraphNode_t **dependencies,
                                         const cudaGraphEdgeData **edges, size_t *count) {
    if (edges) *edges = NULL;
    return capture_info(stream, status, id, graph, dependencies, count);
}
#else
API cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t stream, enum cudaStreamCaptureStatus *status, unsigned long long *id,
                                            cudaGraph_t *graph, const cudaGraphNode_t **dependencies, size_t *count) {
    return capture_info(stream, status, id, graph, dependencies, count);
}
#endif

API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    return answer(cuGraphGetNodes(graph, nodes, count));
}

API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    TRY(ready());
    return answer(cuGraphInstantiateWithFlags(exec, graph, flags));
}

API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    return cudaGraphInstantiateWithFlags(exec, graph, flags);
}

API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    TRY(ready());
    return answer(cuGraphLaunch(exec, stream));
}

API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    return answer(cuGraphExecDestroy(exec));
}

API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    return answer(cuGraphDestroy(graph));
}

/* Errors. */

API cudaError_t cudaPeekAtLastError(void) {
    return last_error;
}

API cudaError_t cudaGetLastError(void) {
    cudaError_t const error = last_error;
    last_error = cudaSuccess;
    return error;
}

API const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
#define NAME(error)                                                                                                            \
    case error: return #error;
        NAME(cudaSuccess)
        NAME(cudaErrorInvalidValue)
        NAME(cudaErrorMemoryAllocation)
        NAME(cudaErrorInitializationError)
        NAME(cudaErrorNoDevice)
        NAME(cudaErrorInvalidDevice)
        NAME(cudaErrorDeviceUninitialized)
        NAME(cudaErrorNoKernelImageForDevice)
        NAME(cudaErrorInvalidPtx)
        NAME(cudaErrorPeerAccessUnsupported)
        NAME(cudaErrorInvalidResourceHandle)
        NAME(cudaErrorSymbolNotFound)
        NAME(cudaErrorNotReady)
        NAME(cudaErrorIllegalAddress)
        NAME(cudaErrorLaunchTimeout)
        NAME(cudaErrorMisalignedAddress)
        NAME(cudaErrorLaunchFailure)
        NAME(cudaErrorNotSupported)
        NAME(cudaErrorStreamCaptureUnsupported)
        NAME(cudaErrorStreamCaptureInvalidated)
        NAME(cudaErrorStreamCaptureUnmatched)
        NAME(cudaErrorStreamCaptureUnjoined)
        NAME(cudaErrorStreamCaptureIsolation)
        NAME(cudaErrorStreamCaptureImplicit)
        NAME(cudaErrorCapturedEvent)
        default: return "unrecognized error code";
    }
}

API const char *cudaGetErrorString(cudaError_t error) {
    const char *text;
    return cuGetErrorString((CUresult)error, &text) ? "unrecognized error code" : text;
}

/* Kernels, which the compiler's start-up code registers when a library is loaded, by the address of
 * a function on the CPU. */

static struct kernel {
    const void *function;
    const char *name;
} *kernels;
static size_t nkernels;
static pthread_mutex_t kernels_mutex = PTHREAD_MUTEX_INITIALIZER;

API void **__cudaRegisterFatBinary(void *binary) {
    (void)binary;
    static void *handle;
    return &handle;
}

API void __cudaRegisterFatBinaryEnd(void **handle) {
    (void)handle;
}

API void __cudaUnregisterFatBinary(void **handle) {
    (void)handle;
}

API char __cudaInitModule(void **handle) {
    (void)handle;
    return 0;
}

API void __cudaRegisterVar(void **handle, char *variable, char *address, const char *name, int external, size_t size,
                           int constant, int global) {
    (void)handle, (void)variable, (void)address, (void)name, (void)external, (void)size, (void)constant, (void)global;
}

API void __cudaRegisterFunction(void **handle, const char *function, char *device_function, const char *name, int thread_limit,
                                uint3 *thread, uint3 *block, dim3 *block_size, dim3 *grid_size, int *warp) {
    (void)handle, (void)device_function, (void)thread_limit, (void)thread, (void)block, (void)block_size, (void)grid_size;
    (void)warp;
    pthread_mutex_lock(&kernels_mutex);
    if ((nkernels & (nkernels - 1)) == 0) kernels = realloc(kernels, (nkernels ? 2 * nkernels : 1) * sizeof *kernels);
    kernels[nkernels++] = (struct kernel){function, name}; /* the name belongs to the library, which stays loaded */
    pthread_mutex_unlock(&kernels_mutex);
}

static cudaError_t refuse_kernel(const void *function) {
    const char *name = "kernel that nobody has registered";
    pthread_mutex_lock(&kernels_mutex);
    for (size_t i = 0; i < nkernels; i++) {
        if (kernels[i].function == function) name = kernels[i].name;
    }
    pthread_mutex_unlock(&kernels_mutex);
    return refuse(name, ", as kernels of machine code are not run", CUDA_ERROR_NO_BINARY_FOR_GPU);
}

/* The launch configuration, <<<…>>>. It is not used, because the launch is refused. */
API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, struct CUstream_st *stream) {
    (void)grid, (void)block, (void)shared, (void)stream;
    return 0;
}

API cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = *block = (dim3){1, 1, 1};
    *shared = 0;
    *(cudaStream_t *)stream = NULL;
    return cudaSuccess;
}

API cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared,
                                 cudaStream_t stream) {
    (void)grid, (void)block, (void)arguments, (void)shared, (void)stream;
    return refuse_kernel(function);
}

API cudaError_t cudaLaunchCooperativeKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared,
                                            cudaStream_t stream) {
    return cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}

API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *function, void **arguments) {
    (void)config, (void)arguments;
    return refuse_kernel(function);
}

API cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    *kernel = (cudaKernel_t)(uintptr_t)function;
    return cudaSuccess;
}

API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                                   cudaStream_t stream) {
    return cudaLaunchKernel((const void *)kernel, grid, block, arguments, shared, stream);
}

API cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    (void)attributes;
    return refuse_kernel(function);
}

API cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value) {
    (void)attribute, (void)value;
    return refuse_kernel(function);
}

API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int block,
                                                                       size_t shared, unsigned int flags) {
    (void)blocks, (void)block, (void)shared, (void)flags;
    return refuse_kernel(function);
}

API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int block, size_t shared) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block, shared, 0);
}

/* Other functions that torch names. */

#define REFUSE(function)                                                                                                       \
    API cudaError_t no_##function(void) __asm__(#function);                                                                    \
    API cudaError_t no_##function(void) {                                                                                      \
        return refuse(#function, "", CUDA_ERROR_NOT_SUPPORTED);                                                                \
    }

/* clang-format off */
REFUSE(cudaDeviceGetGraphMemAttribute) REFUSE(cudaDeviceSetGraphMemAttribute)
REFUSE(cudaGetSymbolAddress) REFUSE(cudaGraphAddNode) REFUSE(cudaGraphConditionalHandleCreate) REFUSE(cudaGraphDebugDotPrint)
REFUSE(cudaGraphNodeGetDependencies) REFUSE(cudaGraphRetainUserObject) REFUSE(cudaIpcCloseMemHandle)
REFUSE(cudaIpcGetEventHandle) REFUSE(cudaIpcGetMemHandle) REFUSE(cudaIpcOpenEventHandle) REFUSE(cudaIpcOpenMemHandle)
REFUSE(cudaKernelSetAttributeForDevice) REFUSE(cudaLibraryGetGlobal) REFUSE(cudaLibraryGetKernel)
REFUSE(cudaLibraryGetKernelCount) REFUSE(cudaLibraryGetManaged) REFUSE(cudaLibraryGetUnifiedFunction)
REFUSE(cudaLibraryLoadData) REFUSE(cudaLibraryLoadFromFile) REFUSE(cudaLibraryUnload) REFUSE(cudaMallocManaged)
REFUSE(cudaMemPoolSetAccess) REFUSE(cudaMemcpyToSymbol) REFUSE(cudaProfilerStart)
REFUSE(cudaProfilerStop) REFUSE(cudaStreamAddCallback) REFUSE(cudaStreamBeginCaptureToGraph)
REFUSE(cudaStreamUpdateCaptureDependencies) REFUSE(cudaUserObjectCreate) REFUSE(cudaUserObjectRelease)
    /* clang-format on */
