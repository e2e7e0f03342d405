/* Stands in front of a BLAS: a product with one row goes to its matrix-vector routine.
 *
 * MLX calls cblas_sgemm for every product. Of a matrix that is multiplied with one row, as every matrix of a network is
 * for each decoded token, the general routine first makes a packed copy; cblas_sgemv reads it once, in place.
 * Until it is told where the BLAS is, nothing may call it: edgelm does both before MLX is loaded.
 */
#include <string.h>

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef void (*Gemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void (*Gemv)(int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

static Gemm general;
static Gemv by_vector;

#ifdef __cplusplus
extern "C" {
#endif

void edgelm_forward(Gemm gemm, Gemv gemv) {
    general = gemm;
    by_vector = gemv;
}

/* c[M, N] = alpha a[M, K] b[K, N] + beta c */
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    if (order != ROW_MAJOR || m != 1 || n < 1 || k < 1) {
        general(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    /* beta 0 means that c is not read; some versions of sgemv multiply a NaN in it by 0. */
    if (beta == 0.0f) memset(c, 0, sizeof(float) * (size_t)n);
    int step = trans_a == PLAIN ? 1 : lda;
    if (trans_b == PLAIN)
        by_vector(ROW_MAJOR, TRANSPOSED, k, n, alpha, b, ldb, a, step, beta, c, 1);
    else
        by_vector(ROW_MAJOR, PLAIN, n, k, alpha, b, ldb, a, step, beta, c, 1);
}

#ifdef __cplusplus
}
#endif
