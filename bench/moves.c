/* Moves of items that are apart, without arithmetic. Needs an x86-64 processor with AVX-512. */
#ifdef __x86_64__
#include "../cgo/kernels.h"

#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f")))

enum { ROWS = 64, COLUMNS = 128 }; /* of a block; the fastest of all from 16 to 256 and from 32 to 1024 */

/* to[r][c] = from[c][r] of n·n float32, n a multiple of 128. Each block is transposed into a tile,
 * and the tile's rows are copied: by streaming stores if the caches would not hold both sides.
 * Meanwhile the next block's lines are prefetched. */
AVX512 void transposing_copy_avx512(char *to, const char *from, long n, int streaming) {
    _Alignas(64) static _Thread_local char block[ROWS * COLUMNS * 4];
    for (long c = 0; c < n; c += COLUMNS) {
        for (long r = 0; r < n; r += ROWS) {
            const char *const next = from + (c * n + r + ROWS) * 4;
            gorsqrt_avx512.mover->transposed(block, COLUMNS * 4, from + (c * n + r) * 4, n * 4, ROWS, COLUMNS, 4);
            for (long k = 0; k < ROWS; k++) {
                char *const out = to + ((r + k) * n + c) * 4;
                for (long i = 0; i < COLUMNS * 4; i += 64) {
                    __m512i const x = _mm512_load_si512(block + k * COLUMNS * 4 + i);
                    if (streaming) {
                        _mm512_stream_si512((void *)(out + i), x);
                    } else {
                        _mm512_storeu_si512(out + i, x);
                    }
                }
                for (long i = k * COLUMNS / ROWS; streaming && r + ROWS < n && i < (k + 1) * COLUMNS / ROWS; i++) {
                    for (long line = 0; line < ROWS * 4; line += 64) __builtin_prefetch(next + i * n * 4 + line, 0, 2);
                }
            }
        }
    }
    _mm_sfence();
}

/* Reads one item from each of n lines that are `apart` bytes apart, and adds them. */
int reading_lines(const char *from, long n, long apart) {
    int sum = 0;
#pragma GCC unroll 1
    for (long i = 0; i < n; i++) {
        int x;
        memcpy(&x, from + i * apart, sizeof x);
        sum += x;
    }
    return sum;
}

/* Writes n bytes, a multiple of 64. */
AVX512 void filling_avx512(char *to, long n) {
    __m512i x = _mm512_set1_epi32(1);
    for (long i = 0; i < n; i += 64) {
        __asm__("" : "+v"(x)); /* otherwise the compiler calls memset */
        _mm512_storeu_si512(to + i, x);
    }
}
#endif
