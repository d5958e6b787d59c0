/* The steps of training in which MLX's CPU back end calls exp() for one number at a time: causal
 * attention, SiLU and the cross-entropy. All arrays are float32; matrix products are OpenBLAS's.
 * One call uses one core.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "softmax.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
/* The loader chooses the widest version that this processor has. The name of a processor would only
 * fit this one, not those that came after it. */
#if __GNUC__ >= 12
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define WIDE
#endif

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

/* OpenBLAS with 64-bit integers, as numpy brings it. */
typedef void (*sgemm_fn)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t,
                         const float *, int64_t, float, float *, int64_t);
static sgemm_fn sgemm;

void set_sgemm(void *function) { sgemm = (sgemm_fn)function; }

/* Shapes, in tokens t, heads h and the head's size d; the strides count floats, and d is dense.
 * Several query heads share a key head: head h uses key head h / (heads / key_heads).
 *   q (h, t, d)    k, v (key head, first + t, d)    out, d_out (t, h, d)    lse (h, t): log of the sum
 * Query i attends to the first + i + 1 first keys.
 */
typedef struct {
  const float *q, *k, *v;
  int64_t q_head, q_token, k_head, k_token, v_head, v_token;
  int64_t heads, key_heads, tokens, first, size;
  float scale;
} Attention;

enum { BLOCK = 128 }; /* queries at a time; the scratch holds BLOCK * keys floats */

WIDE static void softmax_row(float *row, int64_t valid, int64_t width, float *lse) {
  *lse = softmax(row, valid);
  memset(row + valid, 0, (width - valid) * sizeof(float));
}

void attention(const Attention *a, float *out, float *lse, float *scores) {
  int64_t d = a->size, out_token = a->heads * d;
  for (int64_t h = 0; h < a->heads; h++) {
    int64_t shared = h / (a->heads / a->key_heads);
    const float *q = a->q + h * a->q_head, *k = a->k + shared * a->k_head;
    const float *v = a->v + shared * a->v_head;
    for (int64_t begin = 0; begin < a->tokens; begin += BLOCK) {
      int64_t end = begin + BLOCK < a->tokens ? begin + BLOCK : a->tokens, rows = end - begin;
      int64_t keys = a->first + end;
      sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, keys, d, a->scale, q + begin * a->q_token,
            a->q_token, k, a->k_token, 0, scores, keys);
      for (int64_t i = 0; i < rows; i++)
        softmax_row(scores + i * keys, a->first + begin + i + 1, keys,
                    lse + h * a->tokens + begin + i);
      sgemm(ROW_MAJOR, PLAIN, PLAIN, rows, d, keys, 1, scores, keys, v, a->v_token, 0,
            out + begin * out_token + h * d, out_token);
    }
  }
}

/* p from scores to probabilities, and dp from their gradient to the scores' gradient. */
WIDE static void backward_row(float *p, float *dp, int64_t valid, int64_t width, float lse,
                              const float *out, const float *d_out, int64_t size, float scale) {
  float delta = 0;
#pragma omp simd reduction(+ : delta)
  for (int64_t i = 0; i < size; i++) delta += out[i] * d_out[i];
#pragma omp simd
  for (int64_t i = 0; i < valid; i++) {
    p[i] = exp_(p[i] - lse);
    dp[i] = p[i] * (dp[i] - delta) * scale;
  }
  memset(p + valid, 0, (width - valid) * sizeof(float));
  memset(dp + valid, 0, (width - valid) * sizeof(float));
}

/* The gradients: d_q (t, h, d), which is set; d_k and d_v (first + t, key head, d), to which is
 * added. */
void attention_gradient(const Attention *a, const float *out, const float *d_out, const float *lse,
                        float *d_q, float *d_k, float *d_v, float *p, float *dp) {
  int64_t d = a->size, out_token = a->heads * d, key_token = a->key_heads * d;
  for (int64_t h = 0; h < a->heads; h++) {
    int64_t shared = h / (a->heads / a->key_heads);
    const float *q = a->q + h * a->q_head, *k = a->k + shared * a->k_head;
    const float *v = a->v + shared * a->v_head;
    for (int64_t begin = 0; begin < a->tokens; begin += BLOCK) {
      int64_t end = begin + BLOCK < a->tokens ? begin + BLOCK : a->tokens, rows = end - begin;
      int64_t keys = a->first + end, here = begin * out_token + h * d;
      sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, keys, d, a->scale, q + begin * a->q_token,
            a->q_token, k, a->k_token, 0, p, keys);
      sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, keys, d, 1, d_out + here, out_token, v, a->v_token,
            0, dp, keys);
      for (int64_t i = 0; i < rows; i++)
        backward_row(p + i * keys, dp + i * keys, a->first + begin + i + 1, keys,
                     lse[h * a->tokens + begin + i], out + here + i * out_token,
                     d_out + here + i * out_token, d, a->scale);
      sgemm(ROW_MAJOR, PLAIN, PLAIN, rows, d, keys, 1, dp, keys, k, a->k_token, 0, d_q + here,
            out_token);
      sgemm(ROW_MAJOR, TRANSPOSED, PLAIN, keys, d, rows, 1, dp, keys, q + begin * a->q_token,
            a->q_token, 1, d_k + shared * d, key_token);
      sgemm(ROW_MAJOR, TRANSPOSED, PLAIN, keys, d, rows, 1, p, keys, d_out + here, out_token, 1,
            d_v + shared * d, key_token);
    }
  }
}

WIDE void silu(const float *x, float *y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] = x[i] / (1 + exp_(-x[i]));
}

WIDE void silu_gradient(const float *x, const float *d_y, float *d_x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    float s = 1 / (1 + exp_(-x[i]));
    d_x[i] = d_y[i] * s * (1 + x[i] * (1 - s));
  }
}

WIDE static float cross_entropy_row(float *row, int64_t target, int64_t width, float weight) {
  float top = row[0], wanted = row[target];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < width; i++) top = row[i] > top ? row[i] : top;
  /* A vocabulary is long: a sum of float32 alone would lose two digits. */
  double sum = 0;
  for (int64_t begin = 0; begin < width; begin += 256) {
    int64_t end = begin + 256 < width ? begin + 256 : width;
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = begin; i < end; i++) {
      row[i] = exp_(row[i] - top);
      part += row[i];
    }
    sum += part;
  }
  float factor = (float)(weight / sum);
#pragma omp simd
  for (int64_t i = 0; i < width; i++) row[i] *= factor;
  row[target] -= weight;
  return (float)(weight * (log(sum) + ((double)top - wanted)));
}

/* Weighted losses of rows of logits, which become the losses' gradient. */
void cross_entropy(float *logits, const int32_t *targets, const float *weights, float *losses,
                   int64_t rows, int64_t width) {
  for (int64_t i = 0; i < rows; i++)
    losses[i] = cross_entropy_row(logits + i * width, targets[i], width, weights[i]);
}
