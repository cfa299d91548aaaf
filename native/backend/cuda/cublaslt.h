// cuBLASLt, opened at run time: the binary neither links against it nor needs it to load.
#pragma once

#include <cublasLt.h>

#include <string>

namespace rl {

// The entry points in use, by their names without the prefix.
struct CublasLt {
  decltype(&::cublasLtCreate) create;
  decltype(&::cublasLtDestroy) destroy;
  decltype(&::cublasLtMatmul) matmul;
  decltype(&::cublasLtMatmulDescCreate) desc_create;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&::cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&::cublasLtGetVersion) version;
  std::string path;  // of the library
};

// Opens the library once per process: RL3DEDIT_CUBLASLT, the system's search path, the usual folders of the toolkit.
// Throws ERR_ENVIRONMENT with what was tried and what to install.
const CublasLt& cublaslt();

// Throws ERR_DEVICE (ERR_OUT_OF_MEMORY) naming `what` and the status when it is not CUBLAS_STATUS_SUCCESS.
void check_cublas(cublasStatus_t status, const char* what);

}  // namespace rl
