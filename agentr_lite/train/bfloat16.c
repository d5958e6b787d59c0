/* Matrix products by oneDNN, which rounds the factors to bfloat16 and adds in float32.
 * The library is loaded by the caller; its C interface (version 3) is declared here, because the
 * package with the library does not bring the headers. Source: oneAPI specification, oneDNN.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct dnnl_engine *engine_t;
typedef struct dnnl_stream *stream_t;
typedef struct dnnl_memory *memory_t;
typedef struct dnnl_memory_desc *desc_t;
typedef struct dnnl_primitive *primitive_t;
typedef struct dnnl_primitive_desc *primitive_desc_t;
typedef struct dnnl_primitive_attr *attr_t;
typedef struct dnnl_post_ops *post_ops_t;
typedef int64_t dims_t[12];
typedef struct {
  int which;
  memory_t memory;
} Argument;

int dnnl_engine_create(engine_t *, int kind, size_t index);
int dnnl_stream_create(stream_t *, engine_t, unsigned flags);
int dnnl_stream_wait(stream_t);
int dnnl_memory_desc_create_with_strides(desc_t *, int axes, const dims_t, int type, const dims_t);
int dnnl_memory_desc_destroy(desc_t);
int dnnl_memory_create(memory_t *, desc_t, engine_t, void *);
int dnnl_memory_set_data_handle(memory_t, void *);
int dnnl_memory_destroy(memory_t);
int dnnl_primitive_attr_create(attr_t *);
int dnnl_primitive_attr_set_fpmath_mode(attr_t, int mode);
int dnnl_primitive_attr_set_post_ops(attr_t, post_ops_t);
int dnnl_primitive_attr_destroy(attr_t);
int dnnl_post_ops_create(post_ops_t *);
int dnnl_post_ops_append_eltwise(post_ops_t, int kind, float alpha, float beta);
int dnnl_post_ops_append_sum(post_ops_t, float scale, int32_t zero_point, int type);
int dnnl_post_ops_destroy(post_ops_t);
int dnnl_matmul_primitive_desc_create(primitive_desc_t *, engine_t, desc_t, desc_t, desc_t, desc_t,
                                      attr_t);
int dnnl_primitive_desc_destroy(primitive_desc_t);
int dnnl_primitive_create(primitive_t *, primitive_desc_t);
int dnnl_primitive_execute(primitive_t, stream_t, int count, const Argument *);
int dnnl_primitive_destroy(primitive_t);
/* Of the calling thread alone. */
void omp_set_num_threads(int);

enum { CPU = 1, IN_ORDER = 1, F32 = 3, BFLOAT16_MATHS = 1, LINEAR = 0x26 };
enum { LEFT = 1, RIGHT = 33, RESULT = 17 };
enum { ROW_MAJOR = 101, TRANSPOSED = 112 };

/* OpenBLAS with 64-bit integers, as numpy brings it. */
typedef void (*sgemm_fn)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t,
                         const float *, int64_t, float, float *, int64_t);
static sgemm_fn exact;
static engine_t engine;

/* Below this many multiplications, preparing a product costs more than it saves. */
static const double LITTLE = 2e6;

typedef struct {
  int64_t m, n, k, lda, ldb, ldc;
  int trans_a, trans_b;
  float alpha, beta;
} Shape;

/* A product of one shape, ready for other numbers. */
typedef struct {
  Shape shape;
  primitive_t product;
  memory_t memories[3];
} Prepared;

enum { PREPARED = 512 };
static __thread Prepared *prepared;
static __thread stream_t stream;

int begin(void *sgemm) {
  exact = (sgemm_fn)sgemm;
  return engine ? 0 : dnnl_engine_create(&engine, CPU, 0);
}

static void forget(Prepared *p) {
  if (p->product) dnnl_primitive_destroy(p->product);
  for (int i = 0; i < 3; i++)
    if (p->memories[i]) dnnl_memory_destroy(p->memories[i]);
  memset(p, 0, sizeof *p);
}

/* A matrix in memory: its rows and columns as they are used, and the distance between rows as they
 * are stored. */
static int describe(desc_t *desc, int64_t rows, int64_t columns, int64_t distance, int transposed) {
  dims_t sizes = {rows, columns};
  dims_t strides = {transposed ? 1 : distance, transposed ? distance : 1};
  return dnnl_memory_desc_create_with_strides(desc, 2, sizes, F32, strides);
}

static int attributes(attr_t *attr, float alpha, float beta) {
  post_ops_t after = NULL;
  int failed = dnnl_primitive_attr_create(attr) ||
               dnnl_primitive_attr_set_fpmath_mode(*attr, BFLOAT16_MATHS) ||
               dnnl_post_ops_create(&after);
  if (!failed && alpha != 1) failed = dnnl_post_ops_append_eltwise(after, LINEAR, alpha, 0);
  if (!failed && beta != 0) failed = dnnl_post_ops_append_sum(after, beta, 0, 0);
  failed = failed || dnnl_primitive_attr_set_post_ops(*attr, after);
  if (after) dnnl_post_ops_destroy(after);
  return failed;
}

static int prepare(Prepared *p, const Shape *s) {
  desc_t descs[3] = {NULL, NULL, NULL};
  attr_t attr = NULL;
  primitive_desc_t desc = NULL;
  forget(p);
  int failed = describe(&descs[0], s->m, s->k, s->lda, s->trans_a) ||
               describe(&descs[1], s->k, s->n, s->ldb, s->trans_b) ||
               describe(&descs[2], s->m, s->n, s->ldc, 0) || attributes(&attr, s->alpha, s->beta) ||
               dnnl_matmul_primitive_desc_create(&desc, engine, descs[0], descs[1], NULL, descs[2],
                                                 attr) ||
               dnnl_primitive_create(&p->product, desc);
  for (int i = 0; i < 3; i++) {
    failed = failed || dnnl_memory_create(&p->memories[i], descs[i], engine, NULL);
    if (descs[i]) dnnl_memory_desc_destroy(descs[i]);
  }
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (attr) dnnl_primitive_attr_destroy(attr);
  if (failed)
    forget(p);
  else
    p->shape = *s;
  return failed;
}

static uint64_t hash(const Shape *s) {
  const int64_t parts[] = {s->m, s->n, s->k, s->lda, s->ldb, s->ldc, s->trans_a, s->trans_b};
  uint64_t h = (uint64_t)(s->alpha * 64) * 31 + (uint64_t)(s->beta * 64);
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++)
    h = (h ^ (uint64_t)parts[i]) * 0x9E3779B97F4A7C15u;
  return h >> 32;
}

static int multiply(const Shape *s, const float *a, const float *b, float *c) {
  if (!stream) {
    /* MLX and the training's workers already use a core for each thread. */
    omp_set_num_threads(1);
    prepared = calloc(PREPARED, sizeof *prepared);
    if (!prepared || dnnl_stream_create(&stream, engine, IN_ORDER)) return 1;
  }
  Prepared *p = prepared + hash(s) % PREPARED;
  if ((!p->product || memcmp(&p->shape, s, sizeof *s)) && prepare(p, s)) return 1;
  void *data[3] = {(void *)a, (void *)b, c};
  for (int i = 0; i < 3; i++)
    if (dnnl_memory_set_data_handle(p->memories[i], data[i])) return 1;
  Argument arguments[3] = {
      {LEFT, p->memories[0]}, {RIGHT, p->memories[1]}, {RESULT, p->memories[2]}};
  return dnnl_primitive_execute(p->product, stream, 3, arguments) || dnnl_stream_wait(stream);
}

/* In place of OpenBLAS's function. What oneDNN does not take is computed exactly. */
void sgemm(int order, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, float alpha,
           const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
           int64_t ldc) {
  Shape s;
  /* Bytes between the members are compared as well. */
  memset(&s, 0, sizeof s);
  s.m = m, s.n = n, s.k = k, s.lda = lda, s.ldb = ldb, s.ldc = ldc;
  s.trans_a = trans_a == TRANSPOSED, s.trans_b = trans_b == TRANSPOSED;
  s.alpha = alpha, s.beta = beta;
  if (order != ROW_MAJOR || (double)m * n * k < LITTLE || multiply(&s, a, b, c))
    exact(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
