/* A copy by streaming stores, which do not read the lines that they write, with prefetch. dst and
 * src must be aligned to 32 bytes, and n must be a multiple of 64. On other processors than x86-64
 * it is the C library's copy. */
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("avx"))) void streaming_copy(void *restrict dst, const void *restrict src, size_t n) {
    char *const to = dst;
    const char *const from = src;
    for (size_t i = 0; i < n; i += 64) {
        _mm_prefetch(from + i + 4096, _MM_HINT_T0); /* does nothing beyond the end */
        __m256i const low = _mm256_load_si256((const __m256i *)(from + i));
        __m256i const high = _mm256_load_si256((const __m256i *)(from + i + 32));
        _mm256_stream_si256((__m256i *)(to + i), low);
        _mm256_stream_si256((__m256i *)(to + i + 32), high);
    }
    _mm_sfence();
}
#else
void streaming_copy(void *restrict dst, const void *restrict src, size_t n) {
    memcpy(dst, src, n);
}
#endif

/* The same by two threads, one half each; n is a multiple of 128. The second thread is started in
 * each call, which takes some 20 µs. */
typedef struct {
    char *dst;
    const char *src;
    size_t n;
} half;

static void *copy_half(void *work) {
    half const *const h = work;
    streaming_copy(h->dst, h->src, h->n);
    return NULL;
}

void streaming_copy_by_two(char *restrict dst, const char *restrict src, size_t n) {
    half second = {dst + n / 2, src + n / 2, n / 2};
    pthread_t thread;
    int const started = pthread_create(&thread, NULL, copy_half, &second) == 0;
    streaming_copy(dst, src, n / 2);
    if (started) {
        pthread_join(thread, NULL);
    } else {
        copy_half(&second);
    }
}
