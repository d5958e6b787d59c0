/* Attention on a CPU, in place of llama.cpp's own.
 *
 * llama.cpp calls `attention_step` for every node of its graph (`cb_eval`). A node of flash
 * attention that fits is taken out of the graph and computed here, with sums in float32. Queries
 * that share a key head read the keys and values once. Only the cells that a token may see are
 * read: conversations that advance in lockstep lie in the cache cell by cell between each other. A
 * query's result depends only on its own cells and their order, so neither the number of threads nor
 * the other entries of a batch change it.
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
#ifdef __linux__
#include <sys/mman.h>
#endif

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
  BLOCK = 16,      /* cells whose scores are computed together */
  GROUP = 4,       /* most queries that are computed together */
  CHUNK = 4,       /* vectors of a value that are summed together */
  AHEAD = 2,       /* blocks that are asked for before they are computed */
  LINE = 64,       /* bytes that come from memory together */
  MASKED = 0xfc00, /* minus infinity in half precision */
  BUFFERS = 4,     /* most caches of a context */
  PAGE = 2 << 20,  /* bytes of a large page on x86-64, and on ARM with small pages of 4 KiB */
  SCORES = 1 << 16 /* scores of a token that are kept together, if they are of several key heads */
};

/* `ggml_backend_buffer_get_base` and `ggml_backend_buffer_get_size`. */
typedef void *(*BufferBase)(struct ggml_backend_buffer *);
typedef size_t (*BufferSize)(struct ggml_backend_buffer *);

typedef struct {
  int threads;
  struct ggml_tensor *taken;
  char *scratch;
  size_t scratch_bytes;
  int64_t steps; /* computed so far */
  BufferBase base;
  BufferSize size;
  const struct ggml_backend_buffer *large[BUFFERS]; /* the caches that have been given large pages */
} Attention;

/* Up to GROUP queries of one token that share a key head. */
typedef struct {
  const float *q[GROUP];
  float *out[GROUP];
  float *scores[GROUP]; /* of the cells that the token sees */
  const char *k, *v;
  int group;
} Queries;

/* What all queries of a token have in common. */
typedef struct {
  size_t k_cell, v_cell; /* bytes from one cell to the next */
  int64_t size, value_size;
  float scale;
  int64_t seen;         /* how many cells the token sees */
  const int32_t *cells; /* which; filled up with the last one to whole blocks */
  const uint16_t *bias; /* what the mask adds to each one's score */
} Token;

/* Whether the token may see one of a block's cells. */
INLINE bool any_seen(const uint16_t *mask) {
  uint64_t words[BLOCK / 4], any = 0; /* four numbers in a word */
  memcpy(words, mask, sizeof words);
  for (int i = 0; i < BLOCK / 4; i++) any |= words[i] ^ MASKED * 0x0001000100010001u;
  return any;
}

/* Lists those of a block's cells that the token may see, and what the mask adds to them. Returns
 * their number. There must be room for a block. */
INLINE int list_block(const uint16_t *mask, int64_t cell, int32_t *list, uint16_t *bias) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  __m256i added = _mm256_loadu_si256((const __m256i *)(mask + cell));
  __mmask16 seen = _mm256_cmpneq_epi16_mask(added, _mm256_set1_epi16((short)MASKED));
  __m512i first = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  __m512i cells = _mm512_add_epi32(first, _mm512_set1_epi32((int32_t)cell));
  __m512i biases = _mm512_maskz_compress_epi32(seen, _mm512_cvtepu16_epi32(added));
  _mm512_storeu_si512(list, _mm512_maskz_compress_epi32(seen, cells));
  _mm256_storeu_si256((__m256i *)bias, _mm512_cvtepi32_epi16(biases));
  return __builtin_popcount(seen);
#else
  int count = 0;
  for (int i = 0; i < BLOCK; i++) {
    /* A cell that is not seen is written over by the next one. */
    list[count] = (int32_t)(cell + i);
    bias[count] = mask[cell + i];
    count += mask[cell + i] != MASKED;
  }
  return count;
#endif
}

/* Lists the cells that a token may see, and what the mask adds to them. Returns their number. The
 * last one is repeated, but hidden, up to a whole block. */
static int64_t list_seen(const uint16_t *mask, int64_t cells, int32_t *list, uint16_t *bias) {
  int64_t seen = 0;
  for (int64_t cell = 0; cell < cells; cell += BLOCK) {
    if (mask) {
      if (any_seen(mask + cell)) seen += list_block(mask, cell, list + seen, bias + seen);
      continue;
    }
    for (int i = 0; i < BLOCK; i++) {
      list[seen] = (int32_t)(cell + i);
      bias[seen++] = 0;
    }
  }
  for (int64_t i = seen; seen && i % BLOCK; i++) {
    list[i] = list[seen - 1];
    bias[i] = MASKED;
  }
  return seen;
}

/* Asks for what lies in later cells of the list while those from `at` on are computed: the processor
 * cannot guess where a conversation's next cell lies. */
INLINE void ask_for(const Token *t, const char *base, size_t step, int64_t size, int64_t at) {
  at += AHEAD * BLOCK;
  if (at >= t->seen) return;
  for (int j = 0; j < BLOCK; j++)
    for (int64_t byte = 0; byte < size * 2; byte += LINE)
      __builtin_prefetch(base + t->cells[at + j] * step + byte, 0, 2); /* into the second cache */
}

/* The scores of the cells from `at` on in the list: products times the scale, plus the mask. */
INLINE void scores_of(const Token *t, const Queries *a, const int group, const int64_t size,
                      int64_t at) {
  ask_for(t, a->k, t->k_cell, size, at);
  Vector parts[GROUP][BLOCK];
  for (int j = 0; j < BLOCK; j++) {
    const uint16_t *k = (const uint16_t *)(a->k + t->cells[at + j] * t->k_cell);
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
    for (int j = 0; j < BLOCK; j += WIDTH)
      store(a->scores[g] + at + j, fused(sums(parts[g] + j), scale, halves(t->bias + at + j)));
}

/* Adds `chunk` vectors of these cells' values, times their weights, to the results. */
INLINE void chunk_of(const Token *t, const Queries *a, const int group, const int chunk, int64_t d,
                     int64_t at) {
  Vector sum[GROUP][CHUNK];
  for (int g = 0; g < group; g++)
    for (int c = 0; c < chunk; c++) sum[g][c] = load(a->out[g] + d + c * WIDTH);
  for (int j = 0; j < BLOCK; j++) {
    const uint16_t *v = (const uint16_t *)(a->v + t->cells[at + j] * t->v_cell) + d;
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
                      int64_t at) {
  ask_for(t, a->v, t->v_cell, size, at);
  int64_t d = 0;
  for (; d + CHUNK * WIDTH <= size; d += CHUNK * WIDTH) chunk_of(t, a, group, CHUNK, d, at);
  for (; d < size; d += WIDTH) chunk_of(t, a, group, 1, d, at);
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
  if (t->size == 64) scores_of(t, a, group, 64, at);                                              \
  else if (t->size == 128) scores_of(t, a, group, 128, at);                                       \
  else scores_of(t, a, group, t->size, at)
#define VALUES_OF(group)                                                                          \
  if (t->value_size == 64) values_of(t, a, group, 64, at);                                        \
  else if (t->value_size == 128) values_of(t, a, group, 128, at);                                 \
  else values_of(t, a, group, t->value_size, at)

static void block_scores(const Token *t, const Queries *a, int64_t at) { GROUPS(SCORES_OF) }

static void block_values(const Token *t, const Queries *a, int64_t at) { GROUPS(VALUES_OF) }

/* A token's attention with `count` groups of queries. They are computed block by block, because the
 * keys of all heads of a cell lie side by side. */
static void attend(const Token *t, const Queries *queries, int64_t count) {
  for (int64_t at = 0; at < t->seen; at += BLOCK)
    for (int64_t i = 0; i < count; i++) block_scores(t, queries + i, at);
  int64_t filled = (t->seen + BLOCK - 1) / BLOCK * BLOCK;
  for (int64_t i = 0; i < count; i++)
    for (int g = 0; g < queries[i].group; g++) {
      memset(queries[i].out[g], 0, t->value_size * sizeof(float));
      softmax(queries[i].scores[g], filled);
    }
  for (int64_t at = 0; at < t->seen; at += BLOCK)
    for (int64_t i = 0; i < count; i++) block_values(t, queries + i, at);
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
  size_t scores, cells, bias, bytes;         /* where an item's arrays begin and end */
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
  w.cells = w.scores + w.part * w.share * k->ne[1] * sizeof(float);
  w.bias = w.cells + (k->ne[1] + BLOCK) * sizeof(int32_t);
  w.bytes = (w.bias + (k->ne[1] + BLOCK) * sizeof(uint16_t) + 127) / 64 * 64;
  return w;
}

static void compute(const struct ggml_tensor *t, const Work *w, int64_t item, char *scratch) {
  const struct ggml_tensor *q = t->src[0], *k = t->src[1], *v = t->src[2], *mask = t->src[3];
  int64_t token = item / w->parts % w->tokens, stream = item / w->parts / w->tokens;
  int64_t first = item % w->parts * w->part;
  int64_t last = first + w->part < w->key_heads ? first + w->part : w->key_heads;
  int32_t *cells = (int32_t *)(scratch + w->cells);
  uint16_t *bias = (uint16_t *)(scratch + w->bias);
  Token common = {
      .k_cell = k->nb[1], .v_cell = v->nb[1],
      .size = k->ne[0], .value_size = v->ne[0],
      .cells = cells, .bias = bias,
  };
  memcpy(&common.scale, t->op_params, sizeof common.scale);
  const char *row = mask ? (const char *)mask->data : NULL;
  if (row) row += token * mask->nb[1] + stream * mask->nb[3];
  common.seen = list_seen((const uint16_t *)row, k->ne[1], cells, bias);
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
        scores += k->ne[1];
      }
    }
  attend(&common, queries, count);
}

#ifdef MADV_HUGEPAGE
/* Whether nothing has been written to a large page. */
static bool untouched(const char *page) {
  const uint64_t *words = (const uint64_t *)page;
  for (size_t i = 0; i < PAGE / sizeof *words; i += 8) {
    uint64_t any = 0;
    for (int j = 0; j < 8; j++) any |= words[i + j];
    if (any) return false;
  }
  return true;
}

/* Asks the system for large pages under the cache that the tensor lies in, once. The cells of a
 * conversation lie far apart, and the processor would look up a small page for nearly every one.
 * llama.cpp has filled the cache with zeros, so a page of zeros can be given back: the system gives a
 * large page of zeros for it when something is written there. */
static void use_large_pages(Attention *a, const struct ggml_tensor *t) {
  struct ggml_backend_buffer *buffer = t->view_src ? t->view_src->buffer : t->buffer;
  if (!buffer || !a->base || !a->size) return;
  int i = 0;
  while (i < BUFFERS && a->large[i] && a->large[i] != buffer) i++;
  if (i == BUFFERS || a->large[i] == buffer) return;
  a->large[i] = buffer;
  uintptr_t base = (uintptr_t)a->base(buffer);
  uintptr_t first = (base + PAGE - 1) / PAGE * PAGE, end = (base + a->size(buffer)) / PAGE * PAGE;
  if (first >= end || madvise((void *)first, end - first, MADV_HUGEPAGE)) return;
  for (uintptr_t page = first; page < end; page += PAGE)
    if (untouched((const char *)page)) madvise((void *)page, PAGE, MADV_DONTNEED);
}
#else
static void use_large_pages(Attention *a, const struct ggml_tensor *t) {
  (void)a;
  (void)t;
}
#endif

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
    use_large_pages(a, t->src[1]);
    use_large_pages(a, t->src[2]);
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

Attention *attention_new(int threads, BufferBase base, BufferSize size) {
  Attention *a = calloc(1, sizeof *a);
  if (!a) return a;
  a->threads = threads;
  a->base = base;
  a->size = size;
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
