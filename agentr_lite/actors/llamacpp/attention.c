/* Attention on a CPU, in place of llama.cpp's own.
 *
 * llama.cpp calls `attention_step` for every node of its graph (`cb_eval`). A node of flash
 * attention that fits is taken out of the graph and computed here, with sums in float32. Queries
 * that share a key head read the keys and values once. Blocks of cells that belong to other
 * sequences are skipped. A query's result depends only on its own cells, so neither the number of
 * threads nor the other entries of a batch change it.
 *
 * Arrays: q (size, tokens, heads, streams) in float32; k and v (size, cells, key heads, streams)
 * and the mask (cells, tokens, 1, streams) in half precision; the result (size, heads, tokens,
 * streams) in float32. The first axis is dense.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <omp.h>

#include "softmax.h"
#include "ggml.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 Vector;
enum { WIDTH = 16 };
INLINE Vector zero(void) { return _mm512_setzero_ps(); }
INLINE Vector splat(float x) { return _mm512_set1_ps(x); }
INLINE Vector load(const float *x) { return _mm512_loadu_ps(x); }
INLINE void store(float *to, Vector x) { _mm512_storeu_ps(to, x); }
INLINE Vector halves(const uint16_t *x) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x));
}
INLINE Vector fused(Vector a, Vector b, Vector sum) { return _mm512_fmadd_ps(a, b, sum); }
INLINE Vector four(const Vector *x) {
  /* Each quarter of the result: the sums of this quarter of x[0], x[1], x[2] and x[3]. */
  Vector a = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
  Vector b = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
}
INLINE Vector pairs(Vector a, Vector b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
/* The sum of each of WIDTH vectors. */
INLINE Vector sums(const Vector *x) {
  return pairs(pairs(four(x), four(x + 4)), pairs(four(x + 8), four(x + 12)));
}
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
typedef __m256 Vector;
enum { WIDTH = 8 };
INLINE Vector zero(void) { return _mm256_setzero_ps(); }
INLINE Vector splat(float x) { return _mm256_set1_ps(x); }
INLINE Vector load(const float *x) { return _mm256_loadu_ps(x); }
INLINE void store(float *to, Vector x) { _mm256_storeu_ps(to, x); }
INLINE Vector halves(const uint16_t *x) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
}
INLINE Vector fused(Vector a, Vector b, Vector sum) { return _mm256_fmadd_ps(a, b, sum); }
INLINE Vector four(const Vector *x) {
  return _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
}
INLINE Vector sums(const Vector *x) {
  Vector a = four(x), b = four(x + 4);
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
#elif defined(__aarch64__)
#include <arm_neon.h>
typedef float32x4_t Vector;
enum { WIDTH = 4 };
INLINE Vector zero(void) { return vdupq_n_f32(0); }
INLINE Vector splat(float x) { return vdupq_n_f32(x); }
INLINE Vector load(const float *x) { return vld1q_f32(x); }
INLINE void store(float *to, Vector x) { vst1q_f32(to, x); }
INLINE Vector halves(const uint16_t *x) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
}
INLINE Vector fused(Vector a, Vector b, Vector sum) { return vfmaq_f32(sum, a, b); }
INLINE Vector sums(const Vector *x) {
  return vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3]));
}
#else
#error "no vectors for this processor"
#endif

enum {
  BLOCK = 16,      /* cells that are read or skipped together */
  GROUP = 4,       /* most queries that are computed together */
  CHUNK = 4,       /* vectors of a value that are summed together */
  MASKED = 0xfc00, /* minus infinity in half precision */
  SCORES = 1 << 16 /* scores of a token that are kept together, if they are of several key heads */
};

typedef struct {
  int threads;
  struct ggml_tensor *taken;
  char *scratch;
  size_t scratch_bytes;
  int64_t steps; /* computed so far */
} Attention;

/* Up to GROUP queries of one token that share a key head. */
typedef struct {
  const float *q[GROUP];
  float *out[GROUP];
  float *scores[GROUP]; /* of the cells in blocks that are not skipped */
  const char *k, *v;
  int group;
} Queries;

/* What all queries of a token have in common. */
typedef struct {
  const uint16_t *mask; /* a number for each cell, or NULL */
  size_t k_cell, v_cell; /* bytes from one cell to the next */
  int64_t cells, size, value_size;
  float scale;
} Token;

/* How many of a block's cells the token may see. */
INLINE int visible(const uint16_t *mask) {
  int count = 0;
  for (int i = 0; i < BLOCK; i++) count += mask[i] != MASKED;
  return count;
}

/* The scores of a block that begins with `cell`: products times the scale, plus the mask. */
INLINE void scores_of(const Token *t, const Queries *a, const int group, const int64_t size,
                      int64_t cell, int64_t at, bool whole) {
  Vector parts[GROUP][BLOCK];
  for (int j = 0; j < BLOCK; j++) {
    const uint16_t *k = (const uint16_t *)(a->k + (cell + j) * t->k_cell);
    Vector sum[GROUP];
    for (int g = 0; g < group; g++) sum[g] = zero();
    for (int64_t d = 0; d < size; d += WIDTH) {
      Vector x = halves(k + d);
      for (int g = 0; g < group; g++) sum[g] = fused(x, load(a->q[g] + d), sum[g]);
    }
    for (int g = 0; g < group; g++) parts[g][j] = sum[g];
  }
  Vector scale = splat(t->scale);
  for (int g = 0; g < group; g++)
    for (int j = 0; j < BLOCK; j += WIDTH) {
      Vector bias = t->mask ? halves(t->mask + cell + j) : zero();
      store(a->scores[g] + at + j, fused(sums(parts[g] + j), scale, bias));
    }
  if (whole) return;
  /* What a cell of somebody else holds may be no number at all. */
  for (int j = 0; j < BLOCK; j++)
    if (t->mask[cell + j] == MASKED)
      for (int g = 0; g < group; g++) a->scores[g][at + j] = -INFINITY;
}

/* Adds `chunk` vectors of a block's values, times their weights, to the results. */
INLINE void chunk_of(const Token *t, const Queries *a, const int group, const int chunk, int64_t d,
                     int64_t cell, int64_t at, bool whole) {
  Vector sum[GROUP][CHUNK];
  for (int g = 0; g < group; g++)
    for (int c = 0; c < chunk; c++) sum[g][c] = load(a->out[g] + d + c * WIDTH);
  for (int j = 0; j < BLOCK; j++) {
    if (!whole && t->mask[cell + j] == MASKED) continue;
    const uint16_t *v = (const uint16_t *)(a->v + (cell + j) * t->v_cell) + d;
    Vector weight[GROUP];
    for (int g = 0; g < group; g++) weight[g] = splat(a->scores[g][at + j]);
    for (int c = 0; c < chunk; c++) {
      Vector x = halves(v + c * WIDTH);
      for (int g = 0; g < group; g++) sum[g][c] = fused(x, weight[g], sum[g][c]);
    }
  }
  for (int g = 0; g < group; g++)
    for (int c = 0; c < chunk; c++) store(a->out[g] + d + c * WIDTH, sum[g][c]);
}

INLINE void values_of(const Token *t, const Queries *a, const int group, const int64_t size,
                      int64_t cell, int64_t at, bool whole) {
  int64_t d = 0;
  for (; d + CHUNK * WIDTH <= size; d += CHUNK * WIDTH)
    chunk_of(t, a, group, CHUNK, d, cell, at, whole);
  for (; d < size; d += WIDTH) chunk_of(t, a, group, 1, d, cell, at, whole);
}

/* The compiler makes a version for each number of queries and each common size of a head. */
#define GROUPS(CALL)                                                                              \
  switch (a->group) {                                                                             \
    case 1: CALL(1); break;                                                                       \
    case 2: CALL(2); break;                                                                       \
    case 3: CALL(3); break;                                                                       \
    default: CALL(4);                                                                             \
  }
#define SCORES_OF(group)                                                                          \
  if (t->size == 64) scores_of(t, a, group, 64, cell, at, whole);                                 \
  else if (t->size == 128) scores_of(t, a, group, 128, cell, at, whole);                          \
  else scores_of(t, a, group, t->size, cell, at, whole)
#define VALUES_OF(group)                                                                          \
  if (t->value_size == 64) values_of(t, a, group, 64, cell, at, whole);                           \
  else if (t->value_size == 128) values_of(t, a, group, 128, cell, at, whole);                    \
  else values_of(t, a, group, t->value_size, cell, at, whole)

static void block_scores(const Token *t, const Queries *a, int64_t cell, int64_t at, bool whole) {
  GROUPS(SCORES_OF)
}

static void block_values(const Token *t, const Queries *a, int64_t cell, int64_t at, bool whole) {
  GROUPS(VALUES_OF)
}

/* A token's attention with `count` groups of queries. They are computed block by block, because the
 * keys of all heads of a cell lie side by side. Blocks: a number for each that is not skipped: its
 * first cell, or the complement of it where some of its cells are masked. */
static void attend(const Token *t, const Queries *queries, int64_t count, int32_t *blocks) {
  int64_t used = 0;
  for (int64_t cell = 0; cell < t->cells; cell += BLOCK) {
    int seen = t->mask ? visible(t->mask + cell) : BLOCK;
    if (!seen) continue;
    bool whole = seen == BLOCK;
    for (int64_t i = 0; i < count; i++) block_scores(t, queries + i, cell, used * BLOCK, whole);
    blocks[used++] = (int32_t)(whole ? cell : ~cell);
  }
  for (int64_t i = 0; i < count; i++)
    for (int g = 0; g < queries[i].group; g++) {
      memset(queries[i].out[g], 0, t->value_size * sizeof(float));
      softmax(queries[i].scores[g], used * BLOCK);
    }
  for (int64_t b = 0; b < used; b++) {
    bool whole = blocks[b] >= 0;
    int64_t cell = whole ? blocks[b] : ~blocks[b];
    for (int64_t i = 0; i < count; i++) block_values(t, queries + i, cell, b * BLOCK, whole);
  }
}

/* Whether a node of flash attention can be computed here. */
static bool fits(const struct ggml_tensor *t) {
  const struct ggml_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3];
  float parameters[3]; /* scale, ALiBi's greatest bias, soft cap */
  memcpy(parameters, t->op_params, sizeof parameters);
  return q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 &&
         !t->src[4] && parameters[1] == 0 && parameters[2] == 0 && k->ne[0] % 16 == 0 &&
         v->ne[0] % 16 == 0 && k->ne[1] % BLOCK == 0 && q->ne[2] % k->ne[2] == 0 &&
         k->ne[2] == v->ne[2] && q->ne[3] == k->ne[3] && q->ne[3] == v->ne[3] && k->nb[0] == 2 &&
         v->nb[0] == 2 && q->nb[0] == 4 &&
         (!mask || (mask->type == GGML_TYPE_F16 && mask->nb[0] == 2 && mask->ne[2] == 1 &&
                    mask->ne[3] == q->ne[3]));
}

/* How the work is divided: into tokens, and into parts of a token's key heads. */
typedef struct {
  int64_t tokens, streams, key_heads, share; /* share: queries of a key head */
  int64_t part, parts;                       /* key heads of an item; items of a token */
  size_t scores, blocks, bytes;              /* where an item's arrays begin and end */
} Work;

static Work divided(const struct ggml_tensor *t, int threads) {
  const struct ggml_tensor *q = t->src[0], *k = t->src[1];
  Work w = {.tokens = q->ne[1], .streams = q->ne[3], .key_heads = k->ne[2]};
  w.share = q->ne[2] / k->ne[2];
  int64_t fitting = SCORES / (w.share * k->ne[1]), most = w.key_heads;
  if (w.tokens * w.streams < threads) most = (most + threads - 1) / threads;
  w.part = fitting < 1 ? 1 : fitting < most ? fitting : most;
  w.parts = (w.key_heads + w.part - 1) / w.part;
  int64_t groups = w.part * ((w.share + GROUP - 1) / GROUP);
  w.scores = (groups * sizeof(Queries) + 63) / 64 * 64;
  w.blocks = w.scores + w.part * w.share * k->ne[1] * sizeof(float);
  w.bytes = (w.blocks + k->ne[1] / BLOCK * sizeof(int32_t) + 127) / 64 * 64;
  return w;
}

static void compute(const struct ggml_tensor *t, const Work *w, int64_t item, char *scratch) {
  const struct ggml_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3];
  int64_t token = item / w->parts % w->tokens, stream = item / w->parts / w->tokens;
  int64_t first = item % w->parts * w->part;
  int64_t last = first + w->part < w->key_heads ? first + w->part : w->key_heads;
  Token common = {
      .k_cell = k->nb[1], .v_cell = v->nb[1],
      .cells = k->ne[1], .size = k->ne[0], .value_size = v->ne[0],
  };
  memcpy(&common.scale, t->op_params, sizeof common.scale);
  if (mask)
    common.mask = (const uint16_t *)((const char *)mask->data + token * mask->nb[1] +
                                     stream * mask->nb[3]);
  Queries *queries = (Queries *)scratch;
  float *scores = (float *)(scratch + w->scores);
  int64_t count = 0;
  for (int64_t head = first; head < last; head++)
    for (int64_t begin = 0; begin < w->share; begin += GROUP) {
      Queries *a = queries + count++;
      a->k = (const char *)k->data + head * k->nb[2] + stream * k->nb[3];
      a->v = (const char *)v->data + head * v->nb[2] + stream * v->nb[3];
      a->group = (int)(w->share - begin < GROUP ? w->share - begin : GROUP);
      for (int g = 0; g < a->group; g++) {
        int64_t h = head * w->share + begin + g;
        a->q[g] = (const float *)((const char *)q->data + token * q->nb[1] + h * q->nb[2] +
                                  stream * q->nb[3]);
        a->out[g] = (float *)((char *)t->data + h * t->nb[1] + token * t->nb[2] +
                              stream * t->nb[3]);
        a->scores[g] = scores;
        scores += common.cells;
      }
    }
  attend(&common, queries, count, (int32_t *)(scratch + w->blocks));
}

static bool reserve(Attention *a, size_t bytes) {
  if (bytes <= a->scratch_bytes) return true;
  char *larger = realloc(a->scratch, bytes);
  if (!larger) return false;
  a->scratch = larger;
  a->scratch_bytes = bytes;
  return true;
}

/* `ggml_backend_sched_eval_callback`: whether the node is ours, and then its computation. */
bool attention_step(struct ggml_tensor *t, bool ask, void *data) {
  Attention *a = data;
  if (ask) {
    /* A graph whose computation failed keeps the node that was taken out. */
    if (t == a->taken && t->op == GGML_OP_NONE) return true;
    if (t->op != GGML_OP_FLASH_ATTN_EXT || !fits(t)) return false;
    if (!reserve(a, a->threads * divided(t, a->threads).bytes)) return false;
    a->taken = t;
    t->op = GGML_OP_NONE;
    return true;
  }
  const Work w = divided(t, a->threads);
  int64_t items = w.tokens * w.streams * w.parts;
  if (a->threads == 1) {
    for (int64_t item = 0; item < items; item++) compute(t, &w, item, a->scratch);
  } else {
#pragma omp parallel for schedule(static) num_threads(a->threads)
    for (int64_t item = 0; item < items; item++)
      compute(t, &w, item, a->scratch + omp_get_thread_num() * w.bytes);
  }
  t->op = GGML_OP_FLASH_ATTN_EXT;
  a->taken = NULL;
  a->steps++;
  return true;
}

Attention *attention_new(int threads) {
  Attention *a = calloc(1, sizeof *a);
  if (a) a->threads = threads;
  return a;
}

void attention_threads(Attention *a, int threads) { a->threads = threads; }

int64_t attention_steps(const Attention *a) { return a->steps; }

void attention_free(Attention *a) {
  if (a) free(a->scratch);
  free(a);
}

/* Whether `ggml.h` describes the tensors of the library that is loaded: `t` is a new tensor of 48
 * float32 numbers with this name and these data. */
bool attention_layout(const struct ggml_tensor *t, const char *name, const void *data) {
  return t->name == name && t->data == data && t->type == GGML_TYPE_F32 && t->ne[0] == 48 &&
         t->ne[3] == 1 && t->nb[0] == 4 && t->nb[1] == 192 && t->op == GGML_OP_NONE && !t->src[0];
}

/* The number that `ggml.h` gives to flash attention. */
int attention_operation(void) { return GGML_OP_FLASH_ATTN_EXT; }
