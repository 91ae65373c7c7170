// Where libraries that are opened at run time are looked for: cuBLASLt (blas.c), NCCL (nccl.c).
#ifndef DURE_CUDA_LIBRARY_H_
#define DURE_CUDA_LIBRARY_H_

#ifdef __cplusplus
extern "C" {
#endif

// The first that can be opened; NULL: none. `variable` is an environment variable: where it names a path, no other is
// tried. `names` are tried where the system looks, then beside this plugin. `patterns` are globs with one %s, for
// which VIRTUAL_ENV, CONDA_PREFIX, /usr/local and /usr are put in. Both lists end with NULL.
void *cuda_library_open(const char *variable, const char *const *names, const char *const *patterns);

#ifdef __cplusplus
}
#endif
#endif  // DURE_CUDA_LIBRARY_H_
