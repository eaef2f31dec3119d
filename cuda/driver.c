/* libcuda.so.1, loaded when it is first needed.
 *
 * gorgonia.org/cu is linked against the driver's library and initialises it when the program
 * starts. Here each function of the driver that cu and this package name is a jump through a slot.
 * Until driver_open fills the slots, the functions say that there is no driver, and cuInit does
 * nothing. So a program that does not use CUDA starts, runs and forks as if cu were not in it, with
 * a driver or without. The symbols are hidden, so a program may load the driver's library too. */
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

/* clang-format off */
#define FUNCTIONS(X)                                                                                                           \
    X(cuArray3DCreate_v2) X(cuArray3DGetDescriptor_v2) X(cuArrayCreate_v2) X(cuArrayDestroy) X(cuArrayGetDescriptor_v2)        \
    X(cuCtxCreate_v2) X(cuCtxDestroy_v2) X(cuCtxDisablePeerAccess) X(cuCtxEnablePeerAccess) X(cuCtxGetApiVersion)              \
    X(cuCtxGetCacheConfig) X(cuCtxGetCurrent) X(cuCtxGetDevice) X(cuCtxGetFlags) X(cuCtxGetLimit)                              \
    X(cuCtxGetSharedMemConfig) X(cuCtxGetStreamPriorityRange) X(cuCtxPopCurrent_v2) X(cuCtxPushCurrent_v2)                     \
    X(cuCtxResetPersistingL2Cache) X(cuCtxSetCacheConfig) X(cuCtxSetCurrent) X(cuCtxSetLimit) X(cuCtxSetSharedMemConfig)       \
    X(cuCtxSynchronize) X(cuDeviceCanAccessPeer) X(cuDeviceGet) X(cuDeviceGetAttribute) X(cuDeviceGetCount)                    \
    X(cuDeviceGetName) X(cuDeviceGetP2PAttribute) X(cuDeviceGetUuid) X(cuDevicePrimaryCtxGetState)                             \
    X(cuDevicePrimaryCtxRelease_v2) X(cuDevicePrimaryCtxReset_v2) X(cuDevicePrimaryCtxRetain)                                  \
    X(cuDevicePrimaryCtxSetFlags_v2) X(cuDeviceTotalMem_v2) X(cuDriverGetVersion) X(cuEventCreate) X(cuEventDestroy_v2)        \
    X(cuEventElapsedTime) X(cuEventQuery) X(cuEventRecord) X(cuEventSynchronize) X(cuFuncGetAttribute)                         \
    X(cuFuncSetCacheConfig) X(cuFuncSetSharedMemConfig) X(cuGetErrorName) X(cuGetErrorString) X(cuGraphAddChildGraphNode)      \
    X(cuGraphAddDependencies) X(cuGraphAddEmptyNode) X(cuGraphAddHostNode) X(cuGraphAddKernelNode) X(cuGraphAddMemcpyNode)     \
    X(cuGraphAddMemsetNode) X(cuGraphClone) X(cuGraphCreate) X(cuGraphDestroy) X(cuGraphDestroyNode) X(cuGraphExecDestroy)     \
    X(cuGraphGetEdges) X(cuLaunchKernel) X(cuLinkAddData_v2) X(cuLinkAddFile_v2) X(cuLinkComplete) X(cuLinkCreate_v2)          \
    X(cuLinkDestroy) X(cuMemAdvise) X(cuMemAllocAsync) X(cuMemAllocManaged) X(cuMemAllocPitch_v2) X(cuMemAlloc_v2)             \
    X(cuMemFreeAsync) X(cuMemFreeHost) X(cuMemFree_v2) X(cuMemGetAddressRange_v2) X(cuMemGetInfo_v2) X(cuMemPrefetchAsync)     \
    X(cuMemcpy) X(cuMemcpy2DAsync_v2) X(cuMemcpy2DUnaligned_v2) X(cuMemcpy2D_v2) X(cuMemcpy3DAsync_v2) X(cuMemcpy3DPeer)       \
    X(cuMemcpy3DPeerAsync) X(cuMemcpy3D_v2) X(cuMemcpyAsync) X(cuMemcpyAtoA_v2) X(cuMemcpyAtoD_v2) X(cuMemcpyAtoHAsync_v2)     \
    X(cuMemcpyAtoH_v2) X(cuMemcpyDtoA_v2) X(cuMemcpyDtoDAsync_v2) X(cuMemcpyDtoD_v2) X(cuMemcpyDtoHAsync_v2)                   \
    X(cuMemcpyDtoH_v2) X(cuMemcpyHtoAAsync_v2) X(cuMemcpyHtoA_v2) X(cuMemcpyHtoDAsync_v2) X(cuMemcpyHtoD_v2)                   \
    X(cuMemcpyPeer) X(cuMemcpyPeerAsync) X(cuMemsetD16Async) X(cuMemsetD16_v2) X(cuMemsetD2D16Async) X(cuMemsetD2D16_v2)       \
    X(cuMemsetD2D32Async) X(cuMemsetD2D32_v2) X(cuMemsetD2D8Async) X(cuMemsetD2D8_v2) X(cuMemsetD32Async)                      \
    X(cuMemsetD32_v2) X(cuMemsetD8Async) X(cuMemsetD8_v2) X(cuModuleGetFunction) X(cuModuleGetGlobal_v2)                       \
    X(cuModuleGetSurfRef) X(cuModuleGetTexRef) X(cuModuleLoad) X(cuModuleLoadData) X(cuModuleLoadDataEx)                       \
    X(cuModuleLoadFatBinary) X(cuModuleUnload) X(cuOccupancyMaxActiveBlocksPerMultiprocessor)                                  \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags) X(cuPointerGetAttribute) X(cuPointerSetAttribute)                  \
    X(cuStreamAttachMemAsync) X(cuStreamCreate) X(cuStreamCreateWithPriority) X(cuStreamDestroy_v2) X(cuStreamGetFlags)        \
    X(cuStreamGetPriority) X(cuStreamIsCapturing) X(cuStreamQuery) X(cuStreamSynchronize) X(cuStreamWaitEvent)                 \
    X(cuStreamWaitValue32_v2) X(cuStreamWriteValue32_v2) X(cuSurfRefGetArray) X(cuSurfRefSetArray) X(cuTexRefGetAddressMode)   \
    X(cuTexRefGetAddress_v2) X(cuTexRefGetArray) X(cuTexRefGetBorderColor) X(cuTexRefGetFilterMode) X(cuTexRefGetFlags)        \
    X(cuTexRefGetFormat) X(cuTexRefGetMaxAnisotropy) X(cuTexRefSetAddress2D_v3) X(cuTexRefSetAddressMode)                      \
    X(cuTexRefSetAddress_v2) X(cuTexRefSetArray) X(cuTexRefSetBorderColor) X(cuTexRefSetFilterMode) X(cuTexRefSetFlags)        \
    X(cuTexRefSetFormat) X(cuTexRefSetMaxAnisotropy) X(cuTexRefSetMipmapFilterMode) X(cuTexRefSetMipmapLevelBias)              \
    X(cuTexRefSetMipmapLevelClamp) X(cuThreadExchangeStreamCaptureMode)
/* clang-format on */

#define SLOT(name) SLOT_##name,
enum { FUNCTIONS(SLOT) SLOTS };

static CUresult no_driver(void) {
    return CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
}

static CUresult no_function(void) {
    return CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
}

/* Not static, since the jumps name it. */
typedef CUresult function(void);
__attribute__((visibility("hidden"), used)) function *gorsqrt_driver[SLOTS] = {[0 ... SLOTS - 1] = no_driver};

/* The arguments are where the driver's function looks for them: nothing but a jump may run in
 * between. */
#if defined(__x86_64__)
#define JUMP(slot) "jmp *gorsqrt_driver+8*" #slot "(%rip)"
#elif defined(__aarch64__)
#define JUMP(slot) "adrp x16, gorsqrt_driver+8*" #slot "\n ldr x16, [x16, :lo12:gorsqrt_driver+8*" #slot "]\n br x16"
#endif
#define FORWARD_TO(name, slot)                                                                                                 \
    __asm__(".text\n .globl " #name "\n .hidden " #name "\n .type " #name ", %function\n" #name ":\n" JUMP(slot));
#define FORWARD_NEXT(name, slot) FORWARD_TO(name, slot)
#define FORWARD(name) FORWARD_NEXT(name, __COUNTER__)
FUNCTIONS(FORWARD)
_Static_assert(__COUNTER__ == SLOTS, "the jumps are numbered as the slots are");

CUresult cuInit(unsigned int flags) {
    (void)flags;
    return CUDA_SUCCESS;
}

static CUresult (*driver_init)(unsigned int flags);
static char why[256] = "";

static void load(void) {
    static const char *const names[] = {
#define QUOTED(name) #name,
        FUNCTIONS(QUOTED)};
    void *const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL); /* never closed */
    if (library == NULL) {
        snprintf(why, sizeof why, "%s", dlerror());
        return;
    }
    driver_init = (CUresult (*)(unsigned int))dlsym(library, "cuInit");
    for (int i = 0; i < SLOTS; i++) {
        function *const found = (function *)dlsym(library, names[i]);
        gorsqrt_driver[i] = found ? found : no_function;
    }
}

CUresult driver_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (why[0]) return CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
    return driver_init ? driver_init(0) : CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
}

const char *driver_missing(void) {
    return why;
}
