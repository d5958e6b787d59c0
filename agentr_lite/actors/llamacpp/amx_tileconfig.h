/* Included before all of llama.cpp where GCC compiles it for AMX: GCC 12's _tile_loadconfig declares
 * only the first 8 of the 64 bytes as read, so the optimizer drops the rest of the configuration.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__)
#include <immintrin.h>
static inline __attribute__((always_inline)) void whole_tile_loadconfig(const void *config) {
  __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const char(*)[64])config));
}
#define _tile_loadconfig whole_tile_loadconfig
#endif
