/* exp and softmax in plain C that compilers turn into vector instructions. */
#include <math.h>
#include <stdint.h>

/* exp(x) to 2 units in the last place; 0 below -87.
 * Cody and Waite: x = n ln 2 + r, |r| <= ln 2 / 2. */
static inline __attribute__((always_inline)) float exp_(float x) {
  const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
  x = x > 88.0f ? 88.0f : x;
  float c = x < -87.0f ? -87.0f : x;
  float n = c * 1.44269504f + shift - shift;
  float r = c - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.0f + r * (1.0f + r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 +
            r * (1.0f / 720 + r * (1.0f / 5040)))))));
  union { int32_t i; float f; } scale = {((int32_t)n + 127) << 23};
  return x < -87.0f ? 0.0f : p * scale.f;
}

/* From scores to weights that sum up to 1. The result is the logarithm of the sum of exp(score). */
static inline __attribute__((always_inline)) float softmax(float *row, int64_t count) {
  float top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < count; i++) top = row[i] > top ? row[i] : top;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) {
    row[i] = exp_(row[i] - top);
    sum += row[i];
  }
  float inverse = 1 / sum;
#pragma omp simd
  for (int64_t i = 0; i < count; i++) row[i] *= inverse;
  return top + logf(sum);
}
